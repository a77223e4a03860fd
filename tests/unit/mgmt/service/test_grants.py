"""Where a presigned request may be sent: to the bucket with TLS, or to this machine where the service is on it."""

from dataclasses import replace

import pytest

from mgmt.service.replies import check_download, check_request
from mgmt_contract.messages.downloads import DownloadItem, DownloadResult
from mgmt_contract.messages.objects import SignedRequest, StoredVersion
from mgmt_contract.messages.service import Service
from mgmt_contract.wire import MessageError
from support.operations import make_download, make_id, make_operation

HEADERS = {"content-length": "5", "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}


SERVICE = Service(1, 1, "0", "bucket", "eu-west-1", "", 1, 1, 1, 1, 1)


def check(url, service_url, service=SERVICE):
    check_request(SignedRequest(url, HEADERS, 900), 5, service, service_url)


@pytest.mark.parametrize(
    ("url", "service_url"),
    [
        ("https://bucket.s3.eu-west-1.amazonaws.com/a/b%20c.tar.gz?X-Amz-Signature=0", "https://api.example/stage"),
        ("https://bucket.s3.eu-west-1.amazonaws.com/k", "http://127.0.0.1:8000"),
        ("https://bucket.s3.eu-west-1.amazonaws.com:443/k", "https://api.example/stage"),
        ("https://bucket.s3.dualstack.eu-west-1.amazonaws.com/k", "https://api.example/stage"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/k", "https://api.example/stage"),
        ("https://Bucket.S3.eu-west-1.amazonaws.com/a/../k", "https://api.example/stage"),
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


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.example/bucket/k",
        "https://bucket.storage.example/k",
        "https://other.s3.eu-west-1.amazonaws.com/k",
        "https://other.s3.eu-west-1.amazonaws.com/bucket/k",
        "https://bucket.s3.us-east-1.amazonaws.com/k",
        "https://bucket.s3.eu-west-1.amazonaws.com.storage.example/k",
        "https://bucket.s3.eu-west-1.amazonaws.com:8443/k",
        "https://s3.eu-west-1.amazonaws.com/other/k",
        "https://s3.eu-west-1.amazonaws.com/bucket/../other/k",
        "https://s3.eu-west-1.amazonaws.com/bucketk",
        "https://127.0.0.1/bucket/k",
    ],
)
def test_footage_goes_to_the_bucket_that_the_service_describes_and_nowhere_else(url):
    with pytest.raises(MessageError, match="no address of the bucket bucket"):
        check(url, "https://api.example/stage")


def test_a_bucket_in_china_has_its_own_domain():
    check("https://bucket.s3.cn-north-1.amazonaws.com.cn/k", "https://h", replace(SERVICE, region="cn-north-1"))


def check_opened(url, *, upload_number=1, size=5):
    item = DownloadItem(make_id(2), make_id(1), "restored")
    result = DownloadResult(
        make_id(2),
        "opened",
        upload=make_operation(upload_number, phase="done").record,
        request=SignedRequest(url, {}, 900),
        stored=StoredVersion(size),
        record=make_download(2).record,
    )
    check_download(result, item, SERVICE, "https://api.example/stage")


def test_a_download_comes_from_the_bucket_alone_and_is_the_one_that_was_asked_for():
    own = "https://bucket.s3.eu-west-1.amazonaws.com/k?versionId=1"
    check_opened(own)
    for url in ("https://elsewhere.example/k", "http://bucket.s3.eu-west-1.amazonaws.com/k", "http://127.0.0.1:1/k"):
        with pytest.raises(MessageError, match="address"):
            check_opened(url)
    with pytest.raises(MessageError, match="another one"):
        check_opened(own, upload_number=3)
    with pytest.raises(MessageError, match="size is 0"):
        check_opened(own, size=0)
