from modelrunner.models.description import kinds
from modelrunner.models.description.usual_names import usual_names


def test_single_files_have_the_names_that_people_give_them() -> None:
    """Which tell what they are for."""
    types = [kinds.GGUF_LAYER, kinds.LICENSE_LAYER, kinds.PROJECTOR_LAYER, kinds.TEMPLATE_LAYER]

    assert ["model.gguf", "LICENSE", "mmproj.gguf", "chat_template.jinja"] == usual_names(types)
    assert ["model.dduf"] == usual_names([kinds.DDUF_LAYER])


def test_several_files_of_weights_are_shards() -> None:
    """Named so that engines find the others by the first."""
    types = [kinds.GGUF_LAYER, kinds.LICENSE_LAYER, kinds.GGUF_LAYER]

    assert ["model-00001-of-00002.gguf", "LICENSE", "model-00002-of-00002.gguf"] == usual_names(types)


def test_no_name_is_given_twice() -> None:
    """Layers of any kind may repeat."""
    types = [kinds.LICENSE_LAYER, kinds.LORA_LAYER, kinds.FILE_LAYER] * 3
    names = usual_names(types)

    assert len(set(names)) == len(types)
    assert ["LICENSE", "LICENSE-2", "LICENSE-3"] == names[::3]
    assert ["adapter.gguf", "adapter-2.gguf", "adapter-3.gguf"] == names[1::3]
