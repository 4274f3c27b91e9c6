# Millrace. `make` prints what there is; nothing is needed beforehand but make, npm and any Node from 20 on.
TESTS = $(shell git ls-files '*.test.ts' ':!test/interop/*' ':!test/soak/*')

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

node_modules/.package-lock.json: package-lock.json
	npm ci --loglevel=error
	@touch $@

install: node_modules/.package-lock.json ## install the dependencies as locked

run: install ## start the whole pipeline: MQTT 1883, WebSocket 8083, HTTP 8080, data under ./data
	@exec ./millrace up

demo: install ## a simulated fleet of 1,000 devices for 20 s, then queries and the account
	@./millrace demo

test: install ## all tests that need nothing but npm
	@./test/run $(TESTS)

test-interop: install ## tests against clients, readers and tools of others (installs them)
	@./test/interop/setup
	@./test/run --concurrency 2 test/interop/*.test.ts

check: install ## types, format, lint, unused exports
	./node_modules/.bin/tsc -p .
	./node_modules/.bin/biome check --error-on-warnings .
	./test/node ./node_modules/knip/bin/knip.js

bench: install ## measure every case with its peers (some minutes)
	@./millrace bench all

bench-peers: install ## install the peers that the package registries have
	@./bench/install-peers

bench-report: install ## a page with plots of the stored results: bench/results/report.html
	@./millrace bench report

bench-compare: install ## measure, against the stored medians of this kind of machine; fails when slower
	@./millrace bench compare

docs: install ## write the generated documents
	./millrace config --markdown > docs/config.md
	./millrace config --errors-markdown > docs/errors.md

kafka-up: install ## a real Kafka on a free loopback port (BROKERS=3 for three); needs Java 17 and Maven
	@./test/node test/kafka/up.ts up --brokers $(or $(BROKERS),1)

kafka-down: ## end the brokers of kafka-up and remove their data
	@./test/node test/kafka/up.ts down

chaos: install ## minutes of kills, pauses and rebalances on three brokers: nothing lost, nothing twice, in order
	@./test/node test/kafka/chaos.ts --minutes $(or $(MINUTES),5) --brokers $(or $(BROKERS),3) $(if $(SEED),--seed $(SEED))

soak: install ## the long tests: fuzz, crash rounds, kill -9 rounds
	@MILLRACE_LONG=1 ./test/run $(TESTS)

clean: ## remove what was installed and built; keeps ./data
	rm -rf node_modules .peers .interop

.PHONY: help install run demo test test-interop check bench bench-peers bench-report bench-compare docs kafka-up kafka-down chaos soak clean
