//! `NTMfw::Native`: the calls of libntmfw, as the Ruby part of the gem wants them.
//!
//! - [`library`]: where the library is found;
//! - [`sockets`]: the calls on descriptors. Descriptors do not block: a call that would have to wait gives `nil`, and
//!   waiting is Ruby's own, so that threads, signals, `Timeout` and fiber schedulers have their way;
//! - [`background`]: the calls that can only wait. Each has a thread of its own, and answers through a pipe;
//! - [`node`]: what the library says of the node.

mod background;
mod failure;
mod library;
mod node;
mod sockets;

use magnus::{Error, Module as _, Ruby, function};

#[magnus::init(name = "native")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    // SAFETY: only takes note that what is defined below may be called by every Ractor: it shares nothing but the
    // library, which is safe to call from all threads.
    unsafe { rb_sys::rb_ext_ractor_safe(true) };
    let native = ruby.define_module("NTMfw")?.define_module("Native")?;
    macro_rules! define {
        ($($module:ident :: $call:ident / $arguments:tt),* $(,)?) => {
            $(magnus::Object::define_singleton_method(
                native, stringify!($call), function!($module::$call, $arguments))?;)*
        };
    }
    define!(
        library::load / 1,
        background::begin / 1,
        background::finish / 0,
        background::look_up / 5,
        node::ready / 0,
        node::ready_elsewhere / 0,
        node::version / 0,
        node::local_name / 0,
        node::status / 0,
        node::listen_to_events / 1,
        node::path / 1,
        node::name_of / 1,
        sockets::socket / 2,
        sockets::bind / 2,
        sockets::listen / 2,
        sockets::connect / 2,
        sockets::accept / 1,
        sockets::is_ntm / 1,
        sockets::carry / 1,
        sockets::release / 1,
        sockets::close / 1,
        sockets::own_address / 1,
        sockets::peer_address / 1,
        sockets::option / 3,
        sockets::set_option / 4,
        sockets::send / 4,
        sockets::receive / 3,
    );
    native.const_set("NOT_A_NAME", libc::EAI_NONAME)?;
    Ok(())
}
