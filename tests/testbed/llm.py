"""A real LLM server without real weights: llama.cpp's own, serving a tiny random model.

The model has the architecture of the big ones and a vocabulary of some fifty words,
so its answers are nonsense in lower case, and everything around them is real: HTTP,
streaming, token counts, keys, errors. Its bytes are the same on every run.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from testbed.environment import clean
from testbed.process import TESTS, Guarded

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

MODEL_NAME: Final = "tiny-random"
API_KEY: Final = "sk-testbed-0123456789abcdef"
# One conversation's; a character is about one token here.
CONTEXT_TOKENS: Final = 2048
_CONVERSATIONS: Final = 2
# An answer without max_tokens ends here, because random weights may never end it themselves.
ANSWER_TOKENS: Final = 48
_WORDS: Final = (
    "state change record store form key history value name note undo merge past model reply layout pane "
    "agent config sync setup snapshot seq label field cell kernel notebook widget slider light dark one two "
    "three the a of and to in is it was with for on as at by from or an be this that which"
).split()
_WIDTH, _HEADS, _LAYERS, _HIDDEN = 64, 4, 2, 128
_SEED: Final = 20240229
_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
)


def write_model(path: Path) -> None:
    """Write the model as a GGUF file of about half a megabyte, the same bytes each time."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer)
    _add_vocabulary(writer)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: GGUFWriter) -> None:
    writer.add_name(MODEL_NAME)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_chat_template(_TEMPLATE)


def _add_vocabulary(writer: GGUFWriter) -> None:
    from gguf import TokenType

    specials = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    # One token per byte, as in every such vocabulary: any prompt can then be read.
    single_bytes = [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    words = [(f"▁{word}", TokenType.NORMAL) for word in _WORDS]
    tokens = specials + single_bytes + words
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_vocab_size(len(tokens))
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _add_weights(writer: GGUFWriter) -> None:
    import numpy as np

    chance = np.random.default_rng(_SEED)
    size = 3 + 256 + len(_WORDS)

    def random(*shape: int) -> NDArray[np.float32]:
        return chance.normal(0.0, 0.4, shape).astype(np.float32)

    embedding, output = random(size, _WIDTH), random(size, _WIDTH)
    # The first dimension is the same for every token and speaks against all but words,
    # so that the answers are text and not stray bytes.
    embedding[:, 0] = 4.0
    output[:259, 0], output[259:, 0] = -6.0, 0.0
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(_LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(_WIDTH, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{part}.weight", random(_WIDTH, _WIDTH) / 8)
        for part in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{part}.weight", random(_HIDDEN, _WIDTH) / 8)
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", random(_WIDTH, _HIDDEN) / 8)


class LlmServer:
    """A running server; a context manager.

    Attributes
    ----------
    root_url
        ``http://127.0.0.1:<port>``: what Anthropic's client wants.
    base_url
        The same with ``/v1``: what OpenAI's client wants.
    api_key
        The only key it accepts; any other gets 401.
    model
        The model's name. The server answers to every other name too.
    """

    def __init__(self, *, api_key: str = API_KEY) -> None:
        self.api_key = api_key
        self.model = MODEL_NAME
        self.root_url = ""

    @property
    def base_url(self) -> str:
        """The address of the OpenAI-style interface."""
        return f"{self.root_url}/v1"

    def __enter__(self) -> LlmServer:
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-llm-")
        folder = Path(self._folder.name)
        write_model(folder / "model.gguf")
        self._process = Guarded(
            [sys.executable, "-P", "-m", "testbed.llm", str(folder / "model.gguf")],
            environment=clean(folder / "home", PYTHONPATH=str(TESTS), TESTBED_API_KEY=self.api_key),
            log=folder / "log",
        )
        try:
            self.root_url = self._process.wait_for(self._address, timeout_seconds=60, what="its address")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.end()
        self._folder.cleanup()

    def _address(self) -> str | None:
        found = re.search(r"^listening on (http\S+)$", self._process.log, re.MULTILINE)
        return found[1] if found else None


def serve(model: Path, api_key: str) -> None:
    """Serve `model` on a free port of 127.0.0.1, say where, and stay until ended."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL_NAME}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [api_key]
    params.n_ctx, params.n_parallel = CONTEXT_TOKENS * _CONVERSATIONS, _CONVERSATIONS
    params.n_predict = ANSWER_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.offline, params.ui, params.fit_params, params.warmup = True, False, False, False
    server = xllamacpp.Server(params)
    print(f"\nlistening on {server.listening_address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), os.environ["TESTBED_API_KEY"])
