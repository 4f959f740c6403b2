# Ringway. `make` lists what there is to do.

SHELL := /bin/bash
TOOL  := go tool -modfile=.ci/tools/go.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BUF   := --config .ci/buf.yaml

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: generate
generate: ## write messages/*.pb.go anew from messages/*.proto
	$(TOOL) buf lint $(BUF)
	$(TOOL) buf generate $(BUF) --template .ci/buf.gen.yaml
