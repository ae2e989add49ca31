# `make` alone prints the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO_BUILD = go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: help run test race lint demo bench endure build static stack conformance chaos e2e screenshots bin/stack bin/penstock-aws bin/penstock-frontend tools-present

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: build ## build and start Penstock on this machine (data in ./penstock-data, HTTP on 127.0.0.1:8080)
	./bin/penstock local

test: tools-present ## all tests
	go test ./...

race: tools-present ## all tests under the race detector
	go test -race -timeout 30m ./...

lint: tools-present ## gofmt, go vet and golangci-lint
	@test -z "$$(gofmt -l .)" || { echo "gofmt wanted on:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool -modfile=.ci/tools/go.mod golangci-lint run ./...

demo: build ## start on free ports, send events, run three queries, stop
	./infra/deploy/demo.sh

bench: build bin/penstock-frontend ## measure bin/penstock against named limits (some minutes; figures and method in BENCHMARKS.md)
	go run ./infra/bench -server bin/penstock -json bin/bench.json

stack: bin/stack ## real peers for the AWS side in the foreground, on fixed ports; docker-compose.yml's environment for them: source bin/stack.env
	exec bin/stack up --env-file bin/stack.env

conformance: bin/stack ## the AWS adapters and every port's suite on them, against real peers on free ports
	PENSTOCK_CONFORMANCE=1 bin/stack run -- go test -count=1 -timeout 20m ./infra/aws/... ./infra/deploy/... && \
	  PENSTOCK_CONFORMANCE=1 bin/stack run -- go test -count=1 -timeout 10m -run Conform .

chaos: bin/stack bin/penstock-aws ## break a deployment on real peers for DURATION (10m), then prove every ack; SEED=n replays (docs/chaos.md)
	go build -o bin/chaos ./infra/deploy/chaos
	bin/stack run --shards 4 -- bin/chaos -json bin/chaos.json $(if $(DURATION),-duration $(DURATION)) $(if $(SEED),-seed $(SEED))

e2e: build ## the console in Chromium, over the real program (Debian: apt-get install chromium)
	PENSTOCK_E2E=$(CURDIR)/bin/penstock go test -count=1 -timeout 15m ./infra/e2e

screenshots: build ## pictures of the console, into docs/console
	@mkdir -p docs/console
	PENSTOCK_E2E=$(CURDIR)/bin/penstock PENSTOCK_SCREENSHOTS=$(CURDIR)/docs/console go test -count=1 -timeout 15m -run Screenshots ./infra/e2e

endure: build ## measure what time does to it: a simulated month, and 20 minutes at 70 % load (an hour; 40 GB of disk)
	go run ./infra/bench -endure -server bin/penstock -json bin/endure.json

build: tools-present ## bin/penstock, one binary with everything embedded
	@mkdir -p bin
	$(GO_BUILD) -o bin/penstock .

# What the static builds may weigh, in bytes. They have 82 and 19 MB now; raise one for a reason, not for an import by chance.
AWS_MAX = 90000000
FRONTEND_MAX = 20000000

bin/penstock-aws:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO_BUILD) -tags nolocal -o $@ .

bin/penstock-frontend:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO_BUILD) -tags nolocal,frontend -o $@ .

static: bin/penstock-aws bin/penstock-frontend ## bin/penstock-aws and bin/penstock-frontend, static binaries without what is embedded for one machine
	@weigh() { size=$$(wc -c <$$1); [ $$size -le $$2 ] || { \
	  echo "$$1 has $$size bytes, at most $$2 are wanted: see what it links with go list -deps"; exit 1; }; }; \
	  weigh bin/penstock-aws $(AWS_MAX); weigh bin/penstock-frontend $(FRONTEND_MAX)
	CGO_ENABLED=0 go vet -tags nolocal $$(CGO_ENABLED=0 go list -e -tags nolocal ./... | grep -v '^penstock/infra/local$$')
	CGO_ENABLED=0 go test -tags nolocal . && CGO_ENABLED=0 go test -tags nolocal,frontend -run Front .

bin/stack:
	@mkdir -p bin
	go build -o bin/stack ./infra/deploy/stack

tools-present:
	@command -v go >/dev/null || { echo "Penstock needs Go 1.26 or newer: https://go.dev/dl/"; exit 1; }
	@echo '#include <string>' | $$(go env CXX) -x c++ -fsyntax-only - 2>/dev/null || { \
	  echo "Penstock needs a C compiler with the C++ library, for DuckDB ($$(go env CXX) can't build); on Debian: apt-get install g++"; exit 1; }
	@test -x bin/penstock || echo "The first build compiles Arrow, Iceberg and Pebble and links DuckDB: allow some minutes."
