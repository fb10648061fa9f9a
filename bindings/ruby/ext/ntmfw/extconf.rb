# frozen_string_literal: true

# Writes the Makefile with which RubyGems builds the compiled part. Cargo does the work.

require "mkmf"

find_executable("cargo") || abort("ntmfw: cargo is missing: install Rust (rustup) and try again")

source = __dir__
target = ENV.fetch("CARGO_TARGET_DIR", File.join(Dir.pwd, "target"))
library = "native.#{RbConfig::CONFIG["DLEXT"]}"

File.write("Makefile", <<~MAKE)
  sitearchdir = #{RbConfig::CONFIG["sitearchdir"]}

  all:
  	RUBY="#{RbConfig.ruby}" cargo build --release --locked --manifest-path "#{source}/Cargo.toml" --target-dir "#{target}"
  	cp "#{target}/release/libnative.#{RbConfig::CONFIG["SOEXT"]}" #{library}

  install: all
  	mkdir -p "$(DESTDIR)$(sitearchdir)/ntmfw"
  	cp #{library} "$(DESTDIR)$(sitearchdir)/ntmfw/"

  clean:
  	rm -f #{library}

  .PHONY: all install clean
MAKE
