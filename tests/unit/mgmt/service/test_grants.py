"""Where a presigned request may be sent: with TLS, or to this very machine where the service itself is on it."""

import pytest

from mgmt.service.replies import check_request
from mgmt_contract.messages import SignedRequest
from mgmt_contract.wire import MessageError

HEADERS = {"content-length": "5", "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}


def check(url, service_url):
    check_request(SignedRequest(url, HEADERS, 900), 5, service_url)


@pytest.mark.parametrize(
    ("url", "service_url"),
    [
        ("https://bucket.s3.eu-west-1.amazonaws.com/a/b%20c.tar.gz?X-Amz-Signature=0", "https://api.example/stage"),
        ("https://bucket.s3.eu-west-1.amazonaws.com/k", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8333/bucket/k?X-Amz-Signature=0", "http://127.0.0.1:8000"),
        ("http://[::1]:8333/bucket/k", "http://localhost:8000"),
    ],
)
def test_what_may_be_sent_to_is_accepted(url, service_url):
    check(url, service_url)


@pytest.mark.parametrize(
    ("url", "service_url"),
    [
        ("http://bucket.s3.eu-west-1.amazonaws.com/k", "https://api.example/stage"),
        ("http://127.0.0.1:8333/bucket/k", "https://api.example/stage"),
        ("http://storage.example/k", "http://127.0.0.1:8000"),
        ("http://127.0.0.1.example/k", "http://127.0.0.1:8000"),
    ],
)
def test_nothing_goes_in_the_clear_over_a_network_nor_to_this_machine_at_anothers_word(url, service_url):
    """What leaves without TLS can be read and changed on the way, and so can its signature."""
    with pytest.raises(MessageError, match="without TLS"):
        check(url, service_url)
