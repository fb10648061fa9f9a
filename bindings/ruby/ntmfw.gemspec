# frozen_string_literal: true

require_relative "lib/ntmfw/version"

Gem::Specification.new do |gem|
  gem.name = "ntmfw"
  gem.version = NTMfw::VERSION
  gem.summary = "Sockets that reach a node by its name, wherever it is"
  gem.description = "NTMTCPSocket, NTMTCPServer and NTMUDPSocket are Ruby's sockets over libntmfw: end-to-end encrypted, " \
                    "through NATs, and going on when either end moves to another network."
  gem.authors = ["The NTMfw project"]
  gem.homepage = "https://ntmfw.example/"
  gem.licenses = ["MIT", "Apache-2.0"]
  gem.required_ruby_version = ">= 3.1"

  gem.files = Dir.chdir(__dir__) do
    Dir["lib/**/*.rb", "sig/*", "ext/ntmfw/{Cargo.toml,Cargo.lock,extconf.rb}", "ext/ntmfw/src/*.rs", "README.md",
        ".yardopts"]
  end
  gem.extensions = ["ext/ntmfw/extconf.rb"]
  gem.metadata["rubygems_mfa_required"] = "true"
end
