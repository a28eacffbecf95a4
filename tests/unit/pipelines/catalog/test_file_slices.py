import pytest

# the libraries of the catalogue take seconds to import: the process that runs these tests shall pay for them alone


@pytest.mark.parametrize(
    ("start", "stop", "chunk"), [(0, 10, 1), (0, 10, 4), (3, 10, 4), (4, 8, 4), (5, 7, 4), (7, 30, 1024), (3, 3, 4)]
)
def test_chunks_are_those_that_slicing_a_chunked_array_leaves(start, stop, chunk):
    import dask.array

    from danmax_bluesky.pipelines.catalog.file_slices import chunks_of_slice

    whole = dask.array.zeros((100,), chunks=chunk)
    assert chunks_of_slice(start, stop, chunk) == whole[start:stop].chunks[0]


def consolidator(slice_text, shape=(4, 6)):
    from danmax_bluesky.pipelines.catalog.file_slices import SegmentConsolidator

    resource = {
        "mimetype": "application/x-hdf5",
        "uri": "file://localhost/scan-0001_orca.h5",
        "data_key": "orca",
        "parameters": {"dataset": "/entry/data", "chunk_shape": [2, *shape], "slice": slice_text},
    }
    return SegmentConsolidator(resource, {"data_keys": {"orca": {"shape": list(shape), "dtype_numpy": "<u2"}}})


def datum(start, stop):
    return {"indices": {"start": start, "stop": stop}, "seq_nums": {"start": start + 1, "stop": stop + 1}}


def test_the_slice_ends_with_the_last_row_that_was_documented():
    segment = consolidator("11:31")
    segment.consume_stream_datum(datum(0, 8))
    assert segment.adapter_parameters()["slice"] == "11:19"
    segment.consume_stream_datum(datum(8, 19))
    source = segment.get_data_source()
    assert source.parameters["slice"] == "11:30"
    assert source.structure.shape == (19, 4, 6)
    assert source.structure.chunks == ((1, 2, 2, 2, 2, 2, 2, 2, 2, 2), (4,), (6,))


def test_a_resource_without_a_slice_has_only_its_documented_rows():
    segment = consolidator("")
    segment.consume_stream_datum(datum(0, 3))
    assert segment.adapter_parameters()["slice"] == "0:3"


def test_indices_that_do_not_restart_are_rows_of_the_slice():
    segment = consolidator("")
    segment.consume_stream_datum(datum(5, 9))
    assert segment.adapter_parameters()["slice"] == "5:9"
