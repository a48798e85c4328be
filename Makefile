# `make run` and `make test` make the environment themselves and are quick once it stands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test coverage bytecode lint format docs pictures bench crowd returning uploads zoo soak crash fuzz lock clean

run: $(STAMP)
	exec $(BIN)/twistd -n sockd -c config/sockd.toml

# The tests mostly wait for daemons, so several processes share them.
test: bytecode
	$(BIN)/python -m pytest --numprocesses=4 --dist=worksteal $(ARGS)

# The same, with the daemons that the tests start measured too, which takes half as long again. The report has
# the files of which less than nine tenths are covered.
coverage: bytecode
	$(BIN)/python -m pytest --numprocesses=4 --dist=worksteal --cov --cov-report= $(ARGS)
	$(BIN)/python tests/uncovered.py 90

# Where Python may not write bytecode, each daemon of the tests would compile sockd anew.
bytecode: $(STAMP)
	$(BIN)/python -m compileall -q sockd plugins

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Compares with peers in one run; takes some minutes, ARGS=--quick less than one.
bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

# A room of a thousand people, of whom some do not read; ARGS="--people 200 --rounds 1" is short.
crowd: $(STAMP)
	$(BIN)/python -m benchmarks.crowd $(ARGS)

# Two hundred people with every client, who lose their connections; ARGS="30 --kill-every 6" kills the daemon.
returning: $(STAMP)
	$(BIN)/python -m benchmarks.returning $(ARGS)

# Uploads of a large file to sockd and to other servers; ARGS=--quick takes some seconds.
uploads: $(STAMP)
	$(BIN)/python -m benchmarks.uploads $(ARGS)

# Hostile peers against every service; ARGS=--quick takes less than a minute.
zoo: $(STAMP)
	$(BIN)/python -m benchmarks.zoo $(ARGS)

# Half an hour of mixed load, reloads and misbehaviour.
soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak $(ARGS)

# Crashes at each system call of an upload; as root it cuts the power of disks too.
crash: $(STAMP)
	$(BIN)/python -m benchmarks.crash $(ARGS)

# A minute of arbitrary input for each reader of what comes from outside.
fuzz: $(STAMP)
	for target in proxy framing datagrams irc configuration websocket; do $(BIN)/python tests/fuzz/$$target.py 60 || exit 1; done

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes docs/chat.png, the picture of the chat's page, by a browser.
pictures: $(STAMP)
	$(BIN)/python tests/integration/picture_chat.py docs/chat.png

# Writes docs/events.md, the reference of log events and metrics, from the code.
docs: $(STAMP)
	$(BIN)/python docs/events.py

# The versions that set-up takes. Run after a change of the dependencies, or to move to newer ones.
lock:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip freeze --exclude-editable | grep -v ' @ ' > constraints.txt
	touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage dist build

# Reinstalled only when what it depends on has changed. An editable install needs no network by itself;
# twistd's cache of plugins is written here once, for the folder may be read-only later.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/twistd --help > $(VENV)/twistd-help.txt
	touch $(STAMP)
