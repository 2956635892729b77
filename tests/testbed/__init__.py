"""The test bed: the real parts that tests run against, on the loopback device alone.

``llm`` is llama.cpp's HTTP server with random weights, ``secret_service`` a GNOME
keyring on a D-Bus of its own, ``jupyter`` JupyterLab in headless Chromium, and
``network`` holds the addresses at which things go wrong. Everything lives in
throw-away folders, and every process ends with the tests that started it.
"""
