//! The shared library: found when the gem is loaded, so that its absence is an exception that says what to do.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

use libc::{addrinfo, size_t, sockaddr, socklen_t, ssize_t};
use magnus::{Error, Ruby};

/// `struct ntmfw_path`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) kind: c_int,
    pub(crate) interface: [c_char; 16],
    pub(crate) rtt_us: u32,
    pub(crate) loss_per_mille: u32,
}

pub(crate) type Listener = unsafe extern "C" fn(event: *const c_char, context: *mut c_void);

macro_rules! calls {
    ($($name:ident = $symbol:literal ($($argument:ty),*) -> $result:ty;)*) => {
        /// The calls of `ntmfw.h` that the gem makes, without the prefix.
        #[derive(Debug)]
        pub(crate) struct Library {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Library {
            fn find(handle: *mut c_void) -> Result<Self, String> {
                Ok(Self {
                    $($name: {
                        let found = symbol(handle, $symbol)?;
                        // SAFETY: the library's symbol of this name has this type: ntmfw.h says so.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(found)
                        }
                    },)*
                })
            }
        }
    };
}

calls! {
    init = c"ntmfw_init" (*const c_char) -> c_int;
    fini = c"ntmfw_fini" () -> ();
    strerror = c"ntmfw_strerror" (c_int) -> *const c_char;
    version = c"ntmfw_version" () -> *const c_char;
    local_name = c"ntmfw_local_name" (*mut c_char, size_t) -> c_int;
    status = c"ntmfw_status" (*mut c_char, size_t) -> c_int;
    on_event = c"ntmfw_on_event" (Listener, *mut c_void) -> c_int;
    path_info = c"ntmfw_path_info" (c_int, *mut Path) -> c_int;
    getaddrinfo = c"ntmfw_getaddrinfo" (*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;
    freeaddrinfo = c"ntmfw_freeaddrinfo" (*mut addrinfo) -> ();
    gai_strerror = c"ntmfw_gai_strerror" (c_int) -> *const c_char;
    getnameinfo = c"ntmfw_getnameinfo"
        (*const sockaddr, socklen_t, *mut c_char, socklen_t, *mut c_char, socklen_t, c_int) -> c_int;
    socket = c"ntmfw_socket" (c_int, c_int, c_int) -> c_int;
    bind = c"ntmfw_bind" (c_int, *const sockaddr, socklen_t) -> c_int;
    listen = c"ntmfw_listen" (c_int, c_int) -> c_int;
    connect = c"ntmfw_connect" (c_int, *const sockaddr, socklen_t) -> c_int;
    accept4 = c"ntmfw_accept4" (c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
    close = c"ntmfw_close" (c_int) -> c_int;
    dup2 = c"ntmfw_dup2" (c_int, c_int) -> c_int;
    getsockname = c"ntmfw_getsockname" (c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    getpeername = c"ntmfw_getpeername" (c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    getsockopt = c"ntmfw_getsockopt" (c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
    setsockopt = c"ntmfw_setsockopt" (c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
    sendto = c"ntmfw_sendto" (c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t;
    recvfrom = c"ntmfw_recvfrom" (c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// The library, which the gem loads before it does anything else.
pub(crate) fn library() -> &'static Library {
    LIBRARY.get().expect("ntmfw.rb calls load before it defines anything")
}

/// `Native.load(path)`: `LoadError` with the loader's own words where that cannot be done.
pub(crate) fn load(ruby: &Ruby, path: String) -> Result<(), Error> {
    let found = open(&path).and_then(Library::find);
    let found = found.map_err(|why| Error::new(ruby.exception_load_error(), why))?;
    // Whoever comes second has found the same library.
    let _ = LIBRARY.set(found);
    Ok(())
}

fn open(path: &str) -> Result<*mut c_void, String> {
    let path = CString::new(path).map_err(|_| "a path has no null in it".to_owned())?;
    // SAFETY: a C string; what the library runs when it is loaded is its own affair, and it is never unloaded.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() { Err(why()) } else { Ok(handle) }
}

fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: a handle that `open` gave, and a C string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() { Err(why()) } else { Ok(found) }
}

/// What the loader says of the call that failed just now.
fn why() -> String {
    // SAFETY: gives null or a C string that is good until this thread's next call of the loader.
    let said = unsafe { libc::dlerror() };
    if said.is_null() {
        return "the loader does not say why".to_owned();
    }
    // SAFETY: a C string, as said above.
    unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned()
}
