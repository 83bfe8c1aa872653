from modelrunner.oci.buffers import BUFFER, Buffers


def test_a_buffer_is_lent_again_once_its_views_are_gone() -> None:
    """However small the piece of it that somebody still has."""
    buffers = Buffers()
    buffers.enter()
    first = buffers.lend()
    first[:3] = b"abc"
    piece = first[1:2]
    memory = first.obj
    del first

    second = buffers.lend()
    assert memory is not second.obj
    assert b"b" == bytes(piece)
    del piece
    assert memory is buffers.lend().obj


def test_the_memory_goes_with_the_last_user() -> None:
    """A daemon that pulls nothing keeps none of it."""
    buffers = Buffers()
    buffers.enter()
    buffers.enter()
    memory = buffers.lend().obj
    buffers.leave()
    assert memory is buffers.lend().obj

    buffers.leave()
    buffers.enter()
    assert memory is not buffers.lend().obj
    assert BUFFER == len(buffers.lend())
