//! The C library's own functions, behind the ones of the same names here.

/// The function that would be called without the shim, looked up once.
///
/// `real!(close(fd: c_int) -> c_int)` gives an `unsafe extern "C" fn(c_int) -> c_int`.
macro_rules! real {
    ($name:ident($($type:ty),* $(,)?) $(-> $result:ty)?) => {{
        static FOUND: std::sync::atomic::AtomicPtr<libc::c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        let mut found = FOUND.load(std::sync::atomic::Ordering::Acquire);
        if found.is_null() {
            let name = concat!(stringify!($name), "\0");
            // SAFETY: the name is a C string.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) };
            assert!(!found.is_null(), "the C library has no {name}");
            FOUND.store(found, std::sync::atomic::Ordering::Release);
        }
        // SAFETY: the C library's function of this name has this type.
        unsafe { std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn($($type),*) $(-> $result)?>(found) }
    }};
}

/// The same for the calls of `<netdb.h>` that end with `_r`, which write a host into their caller's room: what is given are
/// the types of the arguments before that.
macro_rules! real_into_room {
    ($name:ident($($type:ty),*)) => {
        $crate::real::real!($name(
            $($type,)*
            *mut libc::hostent,
            *mut libc::c_char,
            libc::size_t,
            *mut *mut libc::hostent,
            *mut libc::c_int,
        ) -> libc::c_int)
    };
}

/// Calls that are the library's where the descriptor is an NTM socket, and the C library's everywhere else.
macro_rules! calls_on_sockets {
    ($(
        $(#[$about:meta])*
        fn $name:ident($fd:ident: c_int $(, $argument:ident: $type:ty)*) -> $result:ty => $ours:ident;
    )*) => {$(
        $(#[$about])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($fd: c_int $(, $argument: $type)*) -> $result {
            let real = real!($name(c_int $(, $type)*) -> $result);
            // SAFETY: the caller's promise, which is the same for both.
            unsafe {
                if !ntmfw::shim::is_met($fd) {
                    return real($fd $(, $argument)*);
                }
                let _inside = ntmfw::shim::enter();
                ntmfw::capi::$ours($fd $(, $argument)*)
            }
        }
    )*};
}

pub(crate) use {calls_on_sockets, real, real_into_room};
