//! Outer datagrams: any bytes are read without harm, and what parses is emitted as it was parsed, but
//! for reserved bytes that nothing covers and a punch's padding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ntm_proto::wire::outer::{Outer, peek};

fuzz_target!(|datagram: &[u8]| {
    let Ok(outer) = Outer::parse(datagram) else { return };
    assert_eq!(peek(datagram), Ok(outer.outer_type()));

    let emitted = outer.emit();
    assert!(emitted.len() == datagram.len() || outer == Outer::Punch);
    let again = Outer::parse(&emitted).expect("what was emitted parses");
    assert_eq!(again.outer_type(), outer.outer_type());
    assert_eq!(again.emit(), emitted);

    // A relay passes on what its receiver then parses.
    if let Outer::Relayed { inner, .. } = outer
        && let Ok(inner) = Outer::parse(inner)
    {
        assert!(!matches!(inner, Outer::Relayed { .. } | Outer::RelayBind(_)));
    }
});
