"""What an upload loads of the client: short commands are mostly the loading of code."""

import os
import re
import subprocess
import sys

from support.paper_service import paper_service

MODULES_MAX = 51
"""Of one upload of a small file with MGMT_TOKEN."""


def test_an_upload_of_a_small_file_loads_few_modules(tmp_path):
    (tmp_path / "clip").write_bytes(b"x")
    inherited = {name: each for name, each in os.environ.items() if not name.startswith(("MGMT_", "COVERAGE_"))}
    code = "import sys, mgmt.cli.main as m; print(m.main(['-q', 'upload', 'clip'])); print(*sys.modules)"
    with paper_service() as service:
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={
                **inherited,
                "MGMT_API_URL": service.url,
                "MGMT_TOKEN": "made-elsewhere",
                "MGMT_STATE_DIR": str(tmp_path / "state"),
                "MGMT_CONFIG": str(tmp_path / "config"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert service.count("complete") == 1
    exit_code, modules = run.stdout.splitlines()[-2:]
    assert exit_code == "0"
    loaded = re.findall(r"\bmgmt(?:\.\w+)*(?=\s|$)", modules)
    assert "mgmt.upload.sending" in loaded, "they were found"
    assert len(loaded) <= MODULES_MAX, loaded
