# Ringway. `make` lists what there is to do.

SHELL   := /bin/bash
TOOL    := go tool -modfile=.ci/tools/go.mod
BUF     := --config .ci/buf.yaml
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOFILES  = $(shell git ls-files --cached --others --exclude-standard '*.go' | grep -v '\.pb\.go$$')
# How long make fuzz works on each decoder.
TIME    ?= 30s

.DEFAULT_GOAL := help
.PHONY: torture help build test check bench-wan browser-test corpus cut demo restart scale lint fmt format generate generated fuzz transcripts race interop

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the static binary bin/ringway
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ringway ./nodes/ringway

demo: build ## hub, edge and SMSC in one process, with a bad WAN between them
	bin/ringway demo

test: ## all tests; what lacks something skips and says so
	CGO_ENABLED=0 go test ./...
	@.ci/lacks

check: export RINGWAY_NO_SKIP = 1
check: format generated lint race torture-slice interop ## what CI runs: format, generated code, lint, tests with -race, processes that are killed, other people's SMSCs and ESMEs; nothing skipped

race:
	.ci/race

# As FLAGS='-for 5s -runs 1' for a quick look; bin/benchwan -h lists them.
bench-wan: ## speed over a WAN against a bare client beside the SMSC, a table and JSON; as root with packet loss too
	CGO_ENABLED=0 go build -trimpath -o bin/ ./tests/benchwan ./tests/wanem
	bin/benchwan $(FLAGS)

lint: ## go vet and golangci-lint
	go vet ./...
	$(TOOL) golangci-lint run ./...

fmt: ## format all Go files (gofumpt)
	$(TOOL) gofumpt -w $(GOFILES)

format:
	@unformatted=$$($(TOOL) gofumpt -l $(GOFILES)); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi

generate: ## write messages/*.pb.go anew from messages/*.proto
	$(TOOL) buf lint $(BUF)
	$(TOOL) buf generate $(BUF) --template .ci/buf.gen.yaml

# Into another folder, so that checking changes nothing.
generated:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(TOOL) buf lint $(BUF) && \
	$(TOOL) buf generate $(BUF) --template .ci/buf.gen.yaml -o "$$tmp" && \
	for f in "$$tmp"/messages/*.pb.go; do \
	  diff -u "messages/$${f##*/}" "$$f" || { echo "messages/$${f##*/} is not what make generate writes"; exit 1; }; \
	done

fuzz: ## each decoder and machine for TIME (30s) with random input; TARGET=word for some
	@TARGET='$(TARGET)' .ci/fuzz $(TIME)

transcripts: ## write the expected answers in testdata/transcripts anew: read the diff
	@grep -rl 'cockroachdb/datadriven' --include='*_test.go' . | xargs -rn1 dirname | sort -u | while read -r pkg; do \
	  go test "$$pkg" -rewrite </dev/null || exit 1; \
	done

E2E = go test -count=1 -v -timeout 60m ./tests/e2e -run

# Packages run in their own folders: whole paths.
corpus: export RINGWAY_SMS_CORPUS = $(shell echo '$(CORPUS)' | tr , '\n' | xargs -r realpath -m | paste -sd,)
corpus: ## every text of CORPUS=FILE[,FILE] (.jsonl, .jsonl.gz): cut into the fewest parts, both ways through the simulator, and through hub and edge, in both protocols
	CGO_ENABLED=0 go test -count=1 -v -timeout 60m ./smsc/text ./nodes/simulator -run '^(TestRealMessagesComeBack|TestCorpusBothWays)$$'
	$(E2E) '^TestCorpus$$'

interop: ## Kannel, npm smpp and Perl's Net::SMPP against our SMSC and our edge (CORPUS as for make corpus), each PDU through tshark
	RINGWAY_SMS_CORPUS='$(CORPUS)' CGO_ENABLED=0 go test -count=1 -v -timeout 60m ./tests/interop

cut: ## the link cut for 30 s under load
	RINGWAY_LONG=1 $(E2E) '^TestCut$$'

.PHONY: border
border: ## noise at every port, crowds and liars at the link's: others keep 0.9 of their rate, and what a peer costs is bounded
	RINGWAY_LONG=1 $(E2E) '^(TestNoiseDisturbsNobody|TestCrowdsAtTheLinkPort|TestMemoryOfAPeerIsBounded)$$'
	RINGWAY_LONG=1 go test -count=1 -v -timeout 20m ./cluster/linkrpc -run '^(TestMemoryOfAPeerIsBounded|TestSmallPiecesAreBounded)$$'

restart: ## both nodes closed in mid-flow, many times
	RINGWAY_LONG=1 $(E2E) '^TestRestart$$'

.PHONY: cluster-test cluster-bench
# -parallel 1: they measure times; a machine with more cores can take more at once.
cluster-test: ## 3 hub processes, 2 edges, PostgreSQL: kills, restarts, growth, pauses, partitions (root), a database away, two versions
	RINGWAY_LONG=1 $(E2E) '^TestCluster(Basics|Kill|PausedOwner|DatabaseAway|Drain|RollingRestart|Scale|Partition|Versions)$$' -parallel 1

cluster-bench: ## CPU per message: PostgreSQL against embedded, 3 hubs against 1
	RINGWAY_LONG=1 $(E2E) '^TestClusterBench$$'

scale: ## what 100 idle edges and 2,000 people online take of a hub
	RINGWAY_LONG=1 $(E2E) '^TestScale'

browser-test: ## the demo's page in a headless Chromium
	RINGWAY_NO_SKIP=1 $(E2E) '^TestBrowser'

model: ## every state of small worlds of ring and link: all invariants, and everything accepted can arrive
	RINGWAY_LONG=1 CGO_ENABLED=0 go test -count=1 -v -timeout 60m ./tests/model ./tests/model/search ./actors/link -run '^(TestModel|TestWholeModel|TestViolations|TestStatusLog|TestI13_Violations|TestShortestTrace|TestStripesLoseNothing)'

mutants: ## known kinds of bug, one at a time: which test catches each (MUTANT=word for some)
	CGO_ENABLED=0 go run ./tests/mutants -only '$(MUTANT)'

.PHONY: histories
N     ?= 10000
FIRST ?= 1

histories: ## N (10000) simulated histories of the whole pair from seed FIRST on, in virtual time, judged
	go test ./tests/simulation -run '^TestHistories$$' -count=1 -timeout 0 -v -args -seeds $(N) -first $(FIRST)

ROUNDS   ?= 20
SEED     ?= 0
PROTOCOL ?= both
FOR      ?= 0
NETWORK  ?= relay
REPORT   ?=
TORTURE   = CGO_ENABLED=0 go test -count=1 -timeout 0 ./tests/e2e -run '^TestTorture$$' $(1) -args -rounds $(2) -seed $(SEED) -protocol $(PROTOCOL) -for $(FOR) -network $(NETWORK) -report '$(abspath $(REPORT))'

# Whole nodes' disks first. As root disks are filled too, and NETWORK=namespaces loses packets.
torture: ## a hub, two edges and their SMSCs as processes: ROUNDS (20) kills of hub and edges each; PROTOCOL, SEED, FOR=10m, NETWORK, REPORT=file
	CGO_ENABLED=0 go test -count=1 -v -timeout 10m ./tests/torture
	$(call TORTURE,-v,$(ROUNDS))

.PHONY: torture-slice cut-table backlog
torture-slice: # of make torture, for make check: without the race detector, which the processes do not have anyway
	$(call TORTURE,-v,6)

CUTS    ?= 20
LENGTHS ?= 1s,10s,60s
LOSS    ?= 2%

cut-table: ## as root: CUTS (20) cuts of each of LENGTHS (1s,10s,60s) at 300 ms RTT and LOSS (2%): how long until all is as before
	RINGWAY_LONG=1 go test -count=1 -v -timeout 0 ./tests/e2e -run '^TestCutTable$$' -args -cuts $(CUTS) -lengths $(LENGTHS) -cut-loss $(LOSS) -protocol $(PROTOCOL) -seed $(SEED)

BACKLOG ?= 1000000

backlog: ## BACKLOG (1000000) messages behind a full ring, at the hub and at the edge: memory and rate
	RINGWAY_LONG=1 go test -count=1 -v -timeout 0 ./tests/e2e -run '^TestBacklog$$' -args -backlog $(BACKLOG)
