//! Frames: any plaintext is read without harm, and what parses is a frame that arrives again as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ntm_proto::wire::frame::Frame;

fuzz_target!(|plaintext: &[u8]| {
    let Ok(frame) = Frame::parse(plaintext) else { return };
    let mut emitted = Vec::new();
    frame.emit(&mut emitted);
    assert!(emitted.len() <= plaintext.len());
    assert_eq!(Frame::parse(&emitted), Ok(frame));
});
