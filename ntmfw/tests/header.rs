//! `include/ntmfw.h` is what cbindgen makes of the exports, and never written by hand.

use std::path::Path;

/// Set to write the header instead of comparing it.
const UPDATE: &str = "NTMFW_UPDATE_HEADER";

#[test]
fn the_header_is_that_of_the_exports() {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = crate_directory.join("../include/ntmfw.h");
    let config = cbindgen::Config::from_file(crate_directory.join("cbindgen.toml")).expect("cbindgen.toml is right");
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_crate(crate_directory)
        .generate()
        .expect("the exports can be written in C")
        .write(&mut made);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&header, &made).expect("the header can be written");
    }
    let kept = std::fs::read(&header).expect("the header is there");
    assert!(kept == made, "include/ntmfw.h is old: `make header` makes it anew");
}
