import json

from danmax_bluesky.formats.provenance_table import Status, actor_group, fold_actions, process_groups, table


def events():
    yield {"id": "1", "actor": "acquisition", "status": "RUNNING", "start_time": "t0", "parameters": {"n": 3}}
    yield {"id": "2", "actor": "DXchange export", "status": "QUEUED"}
    yield {"id": "1", "status": "SUCCESS", "end_time": "t1", "outputs": [{"path": "a.h5", "size": 3, "checksum": "x"}]}
    yield {"id": "2", "status": "FAILED", "message": "disk full"}
    yield {"id": "3", "actor": "DXchange export", "status": "RUNNING"}


def test_changes_fold_into_rows_in_the_order_of_their_beginning():
    first, second, third = fold_actions(events())
    assert (first.status, first.end_time, first.outputs[0].path) == (Status.SUCCESS, "t1", "a.h5")
    assert (second.group, second.status, second.message) == ("dxchange_export", Status.FAILED, "disk full")
    assert third.group == "dxchange_export_2"


def test_rows_refer_to_the_groups_of_their_actors():
    actions = fold_actions(events())
    rows = table(actions, "/process").value
    assert rows["reference"].tolist() == [
        "/process/acquisition",
        "/process/dxchange_export",
        "/process/dxchange_export_2",
    ]
    assert rows["status"].tolist() == ["SUCCESS", "FAILED", "RUNNING"]


def test_an_actors_group_holds_what_is_needed_to_do_it_again():
    group = actor_group(fold_actions(events())[0])
    assert json.loads(group["parameters_json"].value) == {"n": 3}
    assert group["parameters/n"].value == 3
    assert group["output_data/path"].value.tolist() == ["a.h5"]


def test_the_master_shows_what_succeeded():
    assert list(process_groups(fold_actions(events()))) == ["process_acquisition"]
