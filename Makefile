# Every target installs what it lacks, quietly where nothing is missing, and works from a clean clone
# on Debian 12 with rustup.

CARGO ?= cargo
SIM = $(CARGO) run --release --quiet -p ntm-sim --
# Seeds for the runs that CI makes; the long runs take more.
MOVE_SEEDS ?= 100
CHAOS_SEEDS ?= 60
LONG_MOVE_SEEDS ?= 1000
LONG_CHAOS_SEEDS ?= 5000
FUZZ_SECONDS ?= 600
RUBY_CONNECTIONS ?= 100000
# Named together everywhere, so that what one target built serves the others.
PROGRAMS = -p ntmfw -p ntm-account -p ntm-dc -p ntm-rs -p ntm-cli
MEASURED = -p ntm-account -p ntm-dc -p ntm-rs
LAB_PROFILE ?= release
# What a first build makes soonest.
DEMO_PROFILE ?= debug
LAB_EXPERIMENTS = table1 nats handover second-interface setup soak faults optimisation

.PHONY: $(shell sed -n 's/^\([a-z][a-z0-9-]*\):.*/\1/p' $(MAKEFILE_LIST)) $(LAB_EXPERIMENTS:%=lab-%)

help: ## what there is
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 24

tools: ## install what the build needs and the machine lacks
	@./packaging/install-tools build

build: tools ## everything, optimised
	$(CARGO) build --release --workspace

demo: ## two nodes behind NATs, a file and a voice between them, and one of them moves: a minute
	@./packaging/install-tools demo
	@./tests/lab/run demo $(DEMO_PROFILE) --plot demo.svg

demo-local: ## the same without namespaces, and without moves
	@./packaging/install-tools demo
	@$(CARGO) build --quiet $(PROGRAMS) -p ntm-lab
	@./packaging/demo-local "$$(./packaging/target-directory)/debug"

demo-sim: tools ## two nodes behind two NATs, one of them moving, in the simulated internet
	@$(SIM) --scenario demo --seeds 1

test: ## everything that CI runs
	@./packaging/run-tests

demo-servers: ## the three servers on loopback, from nothing, and two programs that talk
	@./packaging/install-tools test
	@$(CARGO) build --quiet $(PROGRAMS)
	@./packaging/demo-servers "$$(./packaging/target-directory)/debug"

examples: ## the programs in examples/c, built and used
	@./tests/examples/run

descriptors: ## descriptors that carry data: fork, exec, a descriptor passed on
	@./tests/descriptors/run

cli-test: ## the program ntm, used as its user uses it, and programs that share its agent
	@./packaging/install-tools test
	@./tests/cli/run

shim-test: ## existing programs under the LD_PRELOAD shim, one line each
	@./packaging/install-tools test
	@./tests/shim/run

shim-test-all: ## the same and many more programs, kept in docs/results/shim.txt
	@./packaging/install-tools test
	@./packaging/install-tools shim
	@RECORDED_COMMAND='make shim-test-all' ./packaging/record-result shim ./tests/shim/run all

test-ruby: ## the gem for Ruby, built and installed as users do, and used by Ruby's own clients and servers
	@./packaging/install-tools ruby
	@./bindings/ruby/run debug ruby -w test/all.rb

test-bindings: ## paper 002, 4.4: programs in Java, Ruby and C with each other between NATs, one of each pair moving
	@./packaging/install-tools lab
	@./packaging/install-tools java
	@./packaging/install-tools ruby
	@./tests/bindings/run debug

leak-ruby: ## RUBY_CONNECTIONS of Ruby's sockets opened and closed, memory and descriptors watched
	@./packaging/install-tools ruby
	@./bindings/ruby/run release ruby -w bench/leak.rb $(RUBY_CONNECTIONS)

bench-ruby: ## Ruby's sockets beside C's, kept in docs/results/bench-ruby.txt
	@./packaging/install-tools ruby
	@./packaging/record-result bench-ruby ./bindings/ruby/run release ruby -w bench/throughput.rb

lint-ruby: ## the gem's part in Rust
	@./packaging/install-tools ruby
	cd bindings/ruby/ext/ntmfw && $(CARGO) fmt --check && $(CARGO) clippy --locked --all-targets -- -D warnings

test-java: ## NTMfw for Java: its tests by JNA and by JNI
	@./packaging/install-tools java
	@./bindings/java/run-tests

test-java21: ## virtual threads in sockets, with a Java 21 that is fetched or that JAVA21 names
	@./packaging/install-tools java
	@./bindings/java/test-virtual-threads

jar-java: ## the jars of NTMfw for Java in bindings/java/target, one of them with the library inside
	@./packaging/install-tools java
	@./bindings/java/make-jars

leak-java: ## 100,000 connections of Java's opened and closed: memory and descriptors stay
	@./packaging/install-tools java
	@./bindings/java/measure leak 100000

bench-java: ## what one stream of Java's carries by JNA and by JNI, beside C, kept in docs/results/java.txt
	@./packaging/install-tools java
	@RECORDED_COMMAND='make bench-java' ./packaging/record-result java ./bindings/java/measure bench

conformance: ## the calls of <sys/socket.h>, one by one, beside the kernel
	@./tests/conformance/run

conformance-asan: ## the same with the C side under AddressSanitizer
	@./tests/conformance/run asan

conformance-tsan: ## the same with the C side under ThreadSanitizer
	@./tests/conformance/run tsan

conformance-valgrind: ## the same, all of it under valgrind
	@./packaging/install-tools valgrind
	@./tests/conformance/run valgrind

header: ## include/ntmfw.h anew from the exports
	NTMFW_UPDATE_HEADER=1 $(CARGO) test --quiet -p ntmfw --test header

check-format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p ntm-proto -p ntm-node --no-default-features --features pure-rust -- -D warnings

doc: ## the code's documentation, links checked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

unit: ## unit, property and protocol tests
	$(CARGO) test --workspace --no-fail-fast --features ntm-direction/testing,ntm-relay/testing

vectors: ## the public Noise test vectors through both crypto providers
	$(CARGO) test -p ntm-proto --features pure-rust --test noise_vectors -- --nocapture

pure: ## the portable crypto provider, and that it interoperates with the fast one
	$(CARGO) test -p ntm-proto --features pure-rust

purity: ## proto and node reach no socket, clock, environment or thread
	@./packaging/check-purity

sim: sim-matrix sim-setup sim-moves sim-chaos ## the scenarios of the simulated internet, at CI's size

sim-matrix: ## every pair of network kinds: direct or relayed, and how soon
	$(SIM) --scenario matrix --seeds 1

sim-setup: ## paper 003, table 2, rerun on its round-trip times
	$(SIM) --scenario setup --seeds 1

sim-moves: ## transfers while nodes move
	$(SIM) --scenario moves --seeds $(MOVE_SEEDS)

sim-chaos: ## everything random, ten virtual minutes a seed
	$(SIM) --scenario chaos --seeds $(CHAOS_SEEDS)

# The experiments on real kernels; each but the quick ones keeps what it found in docs/results.
lab: $(LAB_EXPERIMENTS:%=lab-%) ## the papers' experiments in network namespaces, all of them: 30 minutes

lab-quick: ## what of them holds on any machine: who reaches whom, also without UDP, a move into each network, beginnings
	@./packaging/install-tools lab
	@./tests/lab/run quick debug

lab-table1: ## paper 002, table 1: who reaches whom, and how
lab-nats: ## NATs of all kinds against each other
lab-handover: ## paper 002, figure 11: a move during a call, beside WireGuard, mosh and TCP
lab-second-interface: ## paper 000, table 5: a second interface appears
lab-setup: ## from a name to the first byte, in round trips
lab-soak: ## 24 nodes that move for ten minutes, every pair in a transfer
lab-faults: ## servers die during calls
lab-optimisation: ## from the relay to a direct path

$(LAB_EXPERIMENTS:%=lab-%): lab-%:
	@./packaging/install-tools lab
	@RECORDED_COMMAND='make lab-$* LAB_PROFILE=$(LAB_PROFILE)' ./packaging/record-result lab-$* \
		./tests/lab/run $* $(LAB_PROFILE) --plot docs/results/lab-$*.svg

# Both scenarios run to their ends whatever fails, so that the result shows all of it.
sim-long: tools ## 1,000 seeds of moves and 5,000 of chaos, kept in docs/results/sim-long.txt
	@RECORDED_COMMAND='make sim-long LONG_MOVE_SEEDS=$(LONG_MOVE_SEEDS) LONG_CHAOS_SEEDS=$(LONG_CHAOS_SEEDS)' \
		./packaging/record-result sim-long sh -c 'status=0; \
		$(SIM) --scenario moves --seeds $(LONG_MOVE_SEEDS) --keep-going || status=1; \
		$(SIM) --scenario chaos --seeds $(LONG_CHAOS_SEEDS) --keep-going || status=1; \
		exit $$status'

scale: ## one coordinator with 10^3 to 10^6 registered nodes
	$(CARGO) run --release --quiet -p ntm-direction --features testing --example scale

sim-recovery: ## 8 hours of virtual time of random trouble for TCP's recovery
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- trouble --hours 8

plots-recovery: ## congestion windows, flights and round trips over time, as SVG files in docs/results/recovery
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- plots docs/results/recovery

goodput-recovery: ## what one flow gets of simulated links of every kind, cubic and bbr
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- goodput --congestion cubic
	$(CARGO) run --release --quiet -p ntm-recovery-sim -- goodput --congestion bbr

check-dependencies: ## what we depend on: licences, sources, and what each is for
	@./packaging/check-dependencies

manuals: ## docs/man anew from the programs
	$(CARGO) build --quiet $(PROGRAMS)
	@./packaging/make-manuals "$$(./packaging/target-directory)/debug" docs/man

check-manuals: ## docs/man is what the programs say
	$(CARGO) build --quiet $(PROGRAMS)
	@pages=$$(mktemp -d) && trap 'rm -rf "$$pages"' EXIT && \
		./packaging/make-manuals "$$(./packaging/target-directory)/debug" "$$pages" && diff -r docs/man "$$pages"

crashes: ## each server killed 50 times, kept in docs/results/crashes.md
	@./packaging/install-tools test
	@./packaging/record-document crashes 'Servers killed under load' crash-as crash-dc crash-rs

crash-as: ## the account server killed 50 times under load, nothing acknowledged lost
	NTM_AS_KILLS=50 $(CARGO) test $(MEASURED) --test server -- --nocapture nothing_that_was_acknowledged

crash-dc: ## the direction coordinator killed 50 times under load, no address lost or given twice
	NTM_CRASHES=50 $(CARGO) test $(MEASURED) --test crashes -- --nocapture every_address

crash-rs: ## the relay killed 50 times under load, its communications going on after each
	NTM_CRASHES=50 $(CARGO) test $(MEASURED) --test crashes -- --nocapture every_communication

bench-dc: ## the direction coordinator beside what its Diffie-Hellmans alone allow
	$(CARGO) test --release --quiet $(MEASURED) --test load -- --ignored --nocapture

bench-as: ## logins a second at the account server, beside argon2 alone
	$(CARGO) bench --quiet $(MEASURED) --bench logins

BENCH_ROUNDS ?= 5
bench: ## the library beside the kernel and its peers, kept in docs/results/bench.txt and bench.svg
	@RECORDED_COMMAND='make bench BENCH_ROUNDS=$(BENCH_ROUNDS)' ./packaging/record-result bench \
		./benches/run --rounds $(BENCH_ROUNDS) --plot docs/results/bench.svg

# Arguments of `ntm-lab loss` for a part of the grid: LOSS='--rates 20,200 --trips 20 --congestion cubic'
LOSS ?=
bench-loss: ## one flow over links with loss, beside the kernel's: three hours; LOSS='--rates 20,200 --seconds 5' for a part
	@./packaging/install-tools lab
	@RECORDED_COMMAND='make bench-loss LOSS="$(LOSS)"' ./packaging/record-result bench-loss ./tests/lab/run loss release $(LOSS)

# Of few losses chance says more than the sender does; here are hundreds of them.
LOSS_LONG = --rates 200 --trips 100,300 --losses 0.1,1,3 --buffers 1 --congestion cubic --seconds 20 --rounds 3
bench-loss-long: ## the cells of bench-loss where losses and not the link decide, for longer: thirteen minutes
	@./packaging/install-tools lab
	@RECORDED_COMMAND='make bench-loss-long' ./packaging/record-result bench-loss-long ./tests/lab/run loss release $(LOSS_LONG)

bench-fairness: ## two flows at one narrow place, ours and the kernel's: seventeen minutes; FAIRNESS='--rates 20 --seconds 30' for a part
	@./packaging/install-tools lab
	@RECORDED_COMMAND='make bench-fairness FAIRNESS="$(FAIRNESS)"' ./packaging/record-result bench-fairness ./tests/lab/run fairness release $(FAIRNESS)

bench-short: ## 1,000 transfers of 100 KB through one tunnel, beside the kernel's and QUIC's
	@./packaging/install-tools lab
	@RECORDED_COMMAND='make bench-short' ./packaging/record-result bench-short ./tests/lab/run shorts release

bench-shim: ## the shim beside the library's calls and beside none, kept in docs/results/bench-shim.txt
	@RECORDED_COMMAND='make bench-shim' ./packaging/record-result bench-shim ./benches/shim/run

bench-parts: scale ## figures of the servers' cores
	$(CARGO) run --release --quiet -p ntm-relay --example forward_cost

bench-servers: ## the servers beside their peers, kept in docs/results/servers.md; as root, for it makes network namespaces
	@./packaging/install-tools bench
	@./packaging/record-document servers 'The servers beside their peers' bench-relay bench-dc bench-as

bench-relay: ## the relay beside coturn
	@./packaging/install-tools bench
	$(CARGO) build --release --quiet $(MEASURED) --bins --examples
	$${CARGO_TARGET_DIR:-target}/release/examples/relay_bench

fuzz: tools ## every fuzz target, FUZZ_SECONDS each
	@./packaging/run-fuzz $(FUZZ_SECONDS)

PREFIX ?= /usr/local
# What is installed and packed: optimised, unless a test is in a hurry.
INSTALL_PROFILE ?= release
BUILD_INSTALLED = $(CARGO) build $(if $(filter release,$(INSTALL_PROFILE)),--release) $(PROGRAMS) -p ntmfw-preload
install: tools ## programs, library, manuals and units below DESTDIR and PREFIX
	$(BUILD_INSTALLED)
	@DESTDIR="$(DESTDIR)" ./packaging/install "$$(./packaging/target-directory)/$(INSTALL_PROFILE)" "$(PREFIX)"

DEB_DIRECTORY ?= $$(./packaging/target-directory)/debian
deb: ## Debian packages, in the target directory below debian/
	@./packaging/install-tools packages
	$(BUILD_INSTALLED)
	@./packaging/make-packages "$$(./packaging/target-directory)/$(INSTALL_PROFILE)" "$(DEB_DIRECTORY)"

check-packages: ## the packages made, looked at by lintian, installed, used and removed again
	@./packaging/install-tools packages
	$(CARGO) build --quiet $(PROGRAMS) -p ntmfw-preload -p ntm-provider
	@./packaging/check-packages "$$(./packaging/target-directory)/debug"

reference: ## docs/configuration.md anew from the programs
	$(CARGO) build --quiet $(PROGRAMS)
	@./packaging/make-reference "$$(./packaging/target-directory)/debug" >docs/configuration.md

check-docs: ## every command and program of the guides, run as they stand there
	@./packaging/install-tools test
	$(CARGO) build --quiet $(PROGRAMS) -p ntmfw-preload -p ntm-provider
	@./tests/docs/run "$$(./packaging/target-directory)/debug"
