//! The public Noise test vectors, through our resolver and both providers.
//!
//! The vectors come with `snow`'s package from the registry and are read from there, so that they are
//! the ones of the version in use. Every vector whose primitives we have must pass.
#![cfg(any(feature = "aws-lc", feature = "pure-rust"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what went wrong by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use ntm_proto::crypto::{Provider, Suite};
use ntm_proto::rng::Rng;
use ntm_proto::session::noise::Resolver;
use serde_json::Value;
use snow::params::{HandshakeModifier, NoiseParams};
use snow::{Builder, HandshakeState};

/// The file, and how many of its vectors are for 25519 and BLAKE2s with each cipher.
const FILES: [(&str, usize); 2] = [("cacophony.txt", 59), ("snow.txt", 51)];

#[cfg(feature = "aws-lc")]
#[test]
fn every_vector_passes_with_aws_lc() {
    run(ntm_proto::crypto::aws_lc::PROVIDER);
}

#[cfg(feature = "pure-rust")]
#[test]
fn every_vector_passes_in_pure_rust() {
    run(ntm_proto::crypto::pure::PROVIDER);
}

fn run(provider: &'static dyn Provider) {
    let folder = vectors();
    let mut our_own = 0;
    for (file, each) in FILES {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        let mut ran = 0;
        for vector in vectors["vectors"].as_array().unwrap() {
            let name = vector["protocol_name"].as_str().unwrap();
            if is_ours(name, provider) {
                check(name, vector, provider);
                ran += 1;
                our_own += usize::from(name == ntm_proto::session::handshake::PATTERN);
            }
        }
        println!("{}: {ran} vectors of {file}", provider.name());
        assert_eq!(ran, each * provider.suites().len());
    }
    assert_eq!(our_own, 1, "the pattern of our sessions is among them");
}

/// Where cargo unpacked `snow`. This test was built, so what the host needs is on the machine; only
/// where another member of the workspace was never built may cargo want the network.
fn vectors() -> PathBuf {
    let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    let metadata = |extra: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--filter-platform", host, "--manifest-path"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .args(extra)
            .output()
            .unwrap()
    };
    let mut output = metadata(&["--offline"]);
    if !output.status.success() {
        output = metadata(&[]);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let snow = packages.iter().find(|package| package["name"] == "snow").expect("snow is a dependency");
    Path::new(snow["manifest_path"].as_str().unwrap()).with_file_name("tests").join("vectors")
}

fn is_ours(name: &str, provider: &dyn Provider) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    let [_, _, dh, cipher, hash] = parts[..] else { return false };
    let cipher = match cipher {
        "ChaChaPoly" => Some(Suite::ChaCha20Poly1305),
        "AESGCM" => Some(Suite::Aes256Gcm),
        _ => None,
    };
    dh == "25519" && hash == "BLAKE2s" && cipher.is_some_and(|suite| provider.suites().contains(&suite))
}

fn check(name: &str, vector: &Value, provider: &'static dyn Provider) {
    let params: NoiseParams = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
    let one_way = params.handshake.pattern.is_oneway();
    let mut ends = [side(&params, vector, "init", provider), side(&params, vector, "resp", provider)];
    let messages: Vec<(Vec<u8>, Vec<u8>)> = vector["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (hex(&message["payload"]), hex(&message["ciphertext"])))
        .collect();

    let mut at = 0;
    let mut buffer = [0; 65_535];
    while !ends[0].is_handshake_finished() {
        let (payload, ciphertext) = &messages[at];
        let len = ends[at % 2].write_message(payload, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], ciphertext, "{name}, message {at}");
        let len = ends[1 - at % 2].read_message(ciphertext, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], payload, "{name}, message {at}");
        at += 1;
    }
    if let Some(hash) = vector.get("handshake_hash") {
        assert!(ends.iter().all(|end| end.get_handshake_hash() == hex(hash)), "{name}, handshake hash");
    }
    let mut ends = ends.map(|end| end.into_transport_mode().unwrap());
    for (at, (payload, ciphertext)) in messages.iter().enumerate().skip(at) {
        let from = if one_way { 0 } else { at % 2 };
        let len = ends[from].write_message(payload, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], ciphertext, "{name}, message {at}");
        let len = ends[1 - from].read_message(ciphertext, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], payload, "{name}, message {at}");
    }
}

fn side(params: &NoiseParams, vector: &Value, side: &str, provider: &'static dyn Provider) -> HandshakeState {
    let field = |what: &str| vector.get(format!("{side}_{what}")).map(hex);
    let (prologue, secret, remote, ephemeral) =
        (field("prologue").unwrap(), field("static"), field("remote_static"), field("ephemeral"));
    let keys = vector.get(format!("{side}_psks")).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| hex(key).try_into().unwrap()).collect();

    let resolver = Resolver::new(provider, &mut Rng::from_seed([0; 32]));
    let mut builder = Builder::with_resolver(params.clone(), Box::new(resolver)).prologue(&prologue).unwrap();
    let places = params.handshake.modifiers.list.iter().filter_map(|modifier| match modifier {
        HandshakeModifier::Psk(place) => Some(*place),
        _ => None,
    });
    for (place, key) in places.zip(&keys) {
        builder = builder.psk(place, key).unwrap();
    }
    if let Some(secret) = &secret {
        builder = builder.local_private_key(secret).unwrap();
    }
    if let Some(remote) = &remote {
        builder = builder.remote_public_key(remote).unwrap();
    }
    if let Some(ephemeral) = &ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(ephemeral);
    }
    if side == "init" { builder.build_initiator() } else { builder.build_responder() }.unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
