//! Connections and ports live in the process that made them. Where that one goes, or another program takes its place, and
//! others stay who hold descriptors of them, ports are left to a process that keeps them (`ntm keep`), and what becomes of
//! connections is told.

use std::ffi::{c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};

use ntm_agent::KEEPER_VARIABLE;
use ntmfw::shim::{self, Port};

use crate::real::real;
use crate::told;

/// From now on the process's end is noticed.
pub(crate) fn watch() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        extern "C" fn at_exit() {
            leave_to_children();
        }
        // SAFETY: a function that lives as long as the process.
        unsafe { libc::atexit(at_exit) };
    });
}

/// Whether what lives in this process would end with it. Not in a child of `vfork`, which borrows its parent's memory, and
/// not in a signal's handler in the midst of one of our calls.
fn has_something() -> bool {
    !shim::is_inside() && shim::holds_connections() && shim::is_home()
}

/// The process ends: those that it leaves go on listening.
fn leave_to_children() {
    if has_something() && has_children() {
        leave(true, told::leaving);
    }
}

/// Gives the ports to a process that keeps them. What cannot be given is told of by `tell`.
fn leave(closing: bool, tell: fn()) {
    let _inside = shim::enter();
    let Some(program) = std::env::var_os(KEEPER_VARIABLE) else { return tell() };
    let ports = shim::give_up_ports(closing);
    let has_more = shim::holds_connections();
    let kept = ports.is_empty() || keep(Command::new(program), ports).is_ok();
    if has_more || !kept {
        tell();
    }
}

/// Starts the process that keeps ports, which goes into the background by itself.
fn keep(mut command: Command, ports: Vec<Port>) -> io::Result<()> {
    command.arg("keep").env_remove("LD_PRELOAD").stdin(Stdio::null()).stdout(Stdio::null());
    for port in &ports {
        let back = inheritable(&port.back)?;
        let kernel = port.kernel.as_ref().map(inheritable).transpose()?;
        command.arg(kernel.map_or_else(|| back.to_string(), |kernel| format!("{back}:{kernel}")));
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// Its number, which programs that are started will have, too.
fn inheritable(fd: &OwnedFd) -> io::Result<c_int> {
    // SAFETY: only numbers go in.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd.as_raw_fd())
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
    if has_something() {
        leave(false, told::leaving);
    }
    // SAFETY: only numbers go in.
    unsafe { real(stay, keep) }
}

/// Calls that end the process without those functions that wait for its end.
macro_rules! calls_that_end {
    ($($name:ident)*) => {$(
        /// `_exit(2)`
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(status: c_int) -> ! {
            let real = real!($name(c_int) -> !);
            leave_to_children();
            // SAFETY: only a number goes in.
            unsafe { real(status) }
        }
    )*};
}

calls_that_end! { _exit _Exit }

/// Another program takes this one's place: the process stays, and what lives in it does not.
fn replace() {
    if has_something() {
        leave(false, told::replaced);
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
