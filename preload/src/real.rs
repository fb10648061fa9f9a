//! The C library's own functions, behind the ones of the same names here.

/// The function that would be called without the shim, looked up once.
///
/// `real!(close(fd: c_int) -> c_int)` gives an `unsafe extern "C" fn(c_int) -> c_int`.
macro_rules! real {
    ($name:ident($($type:ty),*) $(-> $result:ty)?) => {{
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

pub(crate) use real;
