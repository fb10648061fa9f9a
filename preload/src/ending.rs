//! Connections and ports live in the process that made them. Where that one goes and others stay, who have descriptors of
//! them, the user is told.

use std::ffi::{c_char, c_int};

use ntmfw::shim;

use crate::real::real;
use crate::told;

/// From now on the process's end is noticed.
pub(crate) fn watch() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        extern "C" fn at_exit() {
            if shim::holds_connections() && has_children() {
                told::leaving();
            }
        }
        // SAFETY: a function that lives as long as the process.
        unsafe { libc::atexit(at_exit) };
    });
}

fn has_children() -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros are a `siginfo_t`, and there is room for one.
    unsafe {
        let mut about: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut about, options) == 0 && about.si_pid() == 0
    }
}

/// `daemon(3)`: whoever calls it goes on in a child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn daemon(stay: c_int, keep: c_int) -> c_int {
    let real = real!(daemon(c_int, c_int) -> c_int);
    if shim::holds_connections() {
        told::leaving();
    }
    // SAFETY: only numbers go in.
    unsafe { real(stay, keep) }
}

/// Another program takes this one's place: the process stays, and what lives in it does not.
fn replace() {
    if shim::holds_connections() && shim::is_home() {
        told::replaced();
    }
}

/// `exec` and its kin take the place of the program.
macro_rules! calls_that_replace {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// `exec(3)` or `execve(2)`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            let real = real!($name($($type),*) -> c_int);
            replace();
            // SAFETY: the caller's promise.
            unsafe { real($($argument),*) }
        }
    )*};
}

calls_that_replace! {
    fn execve(path: *const c_char, words: *const *const c_char, environment: *const *const c_char);
    fn execv(path: *const c_char, words: *const *const c_char);
    fn execvp(name: *const c_char, words: *const *const c_char);
    fn execvpe(name: *const c_char, words: *const *const c_char, environment: *const *const c_char);
    fn fexecve(fd: c_int, words: *const *const c_char, environment: *const *const c_char);
}
