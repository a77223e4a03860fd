"""The upload process document's own example, as a person would run it."""


def upload(laptop, *arguments, **more):
    run = laptop.run("--json", "upload", *arguments, **more)
    assert (run.exit_code, run.stderr) == (0, "")
    [record] = run.records
    return record


def test_each_stage_leaves_the_records_the_document_shows(team, anna):
    """`mgmt upload myfile.mp4`: three file records, one operation, and the original is where it was."""
    source = anna.work / "myfile.mp4"
    source.write_bytes(b"footage" * 1000)
    record = upload(anna, "myfile.mp4", MGMT_OBJECT_PREFIX="prefix")
    archive = {"name": "myfile.mp4.tar.gz", "size": record["compressed_file_record"]["size"], "is_directory": False}
    assert record["source_file_record"] == {
        "name": "myfile.mp4", "path": "myfile.mp4", "location": "local",
        "size": 7000, "is_directory": False, "status": "completed",
    }  # fmt: skip
    assert record["compressed_file_record"] == {
        **archive, "path": "myfile.mp4.tar.gz", "location": "local", "status": "deleted"
    }  # fmt: skip
    assert record["s3_file_record"] == {
        **archive, "path": "prefix/myfile.mp4.tar.gz", "location": "s3", "status": "completed"
    }  # fmt: skip
    expected = {
        "operation_type": "upload", "target_path": "myfile.mp4", "status": "success", "error_message": None,
        "result_path": "prefix/myfile.mp4.tar.gz", "compression_type": "gzip",
        "compressed_file_path": "myfile.mp4.tar.gz", "s3_bucket": team.bucket,
        "s3_object_key": "prefix/myfile.mp4.tar.gz",
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert source.read_bytes() == b"footage" * 1000
    assert anna.left_overs() == []
    assert {key: len(stored) for key, stored in team.objects().items()} == {record["s3_object_key"]: archive["size"]}
    assert anna.run("--json", "show", record["operation_id"]).records == [record]


def test_the_key_is_prefix_and_archive_name(team, anna):
    (anna.work / "clip").write_text("x")
    assert upload(anna, "clip")["s3_object_key"] == "clip.tar.gz"
    assert upload(anna, "clip", MGMT_OBJECT_PREFIX="day/1")["s3_object_key"] == "day/1/clip.tar.gz"
    assert upload(anna, "clip", "--prefix", "day2", MGMT_OBJECT_PREFIX="day/1")["s3_object_key"] == "day2/clip.tar.gz"


def test_paths_are_shown_from_the_local_dir(team, anna):
    folder = anna.work / "card" / "DCIM"
    folder.mkdir(parents=True)
    (folder / "clip").write_text("x")
    record = upload(anna, "clip", cwd=folder, MGMT_LOCAL_DIR=str(anna.work))
    assert record["target_path"] == record["source_file_record"]["path"] == "card/DCIM/clip"
    assert record["compressed_file_path"] == "card/DCIM/clip.tar.gz"
    record = upload(anna, "clip", "--prefix", "p", cwd=folder, MGMT_LOCAL_DIR=str(anna.folder / "elsewhere"))
    assert record["target_path"] == "clip"
