//! The calls that take and give numbers only. What fails with −1 gives the negated `errno`, in the same step.

use jni::EnvUnowned;
use jni::objects::JObject;
use jni::sys::{jint, jlong};
use libc::{c_int, c_ulong, socklen_t};

/// A number of Java's as what the C call takes.
trait ToC<T> {
    fn to_c(self) -> T;
}

impl ToC<c_int> for jint {
    fn to_c(self) -> c_int {
        self
    }
}

impl ToC<socklen_t> for jint {
    fn to_c(self) -> socklen_t {
        self.cast_unsigned()
    }
}

impl ToC<c_ulong> for jint {
    fn to_c(self) -> c_ulong {
        c_ulong::from(self.cast_unsigned())
    }
}

impl ToC<usize> for jlong {
    fn to_c(self) -> usize {
        self as usize
    }
}

impl ToC<c_ulong> for jlong {
    fn to_c(self) -> c_ulong {
        self.cast_unsigned()
    }
}

impl<T> ToC<*const T> for jlong {
    fn to_c(self) -> *const T {
        self as *const T
    }
}

impl<T> ToC<*mut T> for jlong {
    fn to_c(self) -> *mut T {
        self as *mut T
    }
}

/// What a C call gives as a number of Java's.
trait ToJava<T> {
    fn to_java(self) -> T;
}

impl ToJava<jint> for c_int {
    fn to_java(self) -> jint {
        if self < 0 { -last_error() } else { self }
    }
}

impl ToJava<jlong> for isize {
    fn to_java(self) -> jlong {
        if self < 0 { -jlong::from(last_error()) } else { self as jlong }
    }
}

impl<T> ToJava<jlong> for *const T {
    fn to_java(self) -> jlong {
        self as jlong
    }
}

impl ToJava<()> for () {
    fn to_java(self) {}
}

/// A result that is negative without being an error of `errno`'s.
struct Code(c_int);

impl ToJava<jint> for Code {
    fn to_java(self) -> jint {
        self.0
    }
}

fn last_error() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Exports native methods: the name that the JVM looks for, the arguments, the result, and the call behind it.
macro_rules! native_methods {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? = $call:expr;)*) => {$(
        /// The call of this name, for Java.
        #[unsafe(no_mangle)]
        pub(crate) extern "system" fn $name(_: EnvUnowned<'_>, _: JObject<'_>, $($argument: $kind),*) $(-> $result)? {
            // SAFETY: the addresses are of buffers that the calling Java method holds, with the room it says.
            #[allow(unused_unsafe, reason = "some of the calls take numbers only")]
            let result = unsafe { $call };
            result.to_java()
        }
    )*};
}

native_methods! {
    Java_ntmfw_internal_JniCalls_init(config: jlong) -> jint = ntmfw::capi::ntmfw_init(config.to_c());
    Java_ntmfw_internal_JniCalls_fini() = ntmfw::capi::ntmfw_fini();
    Java_ntmfw_internal_JniCalls_version() -> jlong = ntmfw::capi::ntmfw_version();
    Java_ntmfw_internal_JniCalls_strerror(error: jint) -> jlong = ntmfw::capi::ntmfw_strerror(error.to_c());
    Java_ntmfw_internal_JniCalls_localName(name: jlong, room: jlong) -> jint =
        ntmfw::capi::ntmfw_local_name(name.to_c(), room.to_c());
    Java_ntmfw_internal_JniCalls_status(text: jlong, room: jlong) -> jint =
        ntmfw::capi::ntmfw_status(text.to_c(), room.to_c());
    Java_ntmfw_internal_JniCalls_pathInfo(fd: jint, path: jlong) -> jint =
        ntmfw::capi::ntmfw_path_info(fd.to_c(), path.to_c());
    Java_ntmfw_internal_JniCalls_getaddrinfo(node: jlong, service: jlong, hints: jlong, results: jlong) -> jint =
        Code(ntmfw::capi::ntmfw_getaddrinfo(node.to_c(), service.to_c(), hints.to_c(), results.to_c()));
    Java_ntmfw_internal_JniCalls_freeaddrinfo(results: jlong) = ntmfw::capi::ntmfw_freeaddrinfo(results.to_c());
    Java_ntmfw_internal_JniCalls_gaiStrerror(code: jint) -> jlong = ntmfw::capi::ntmfw_gai_strerror(code.to_c());
    Java_ntmfw_internal_JniCalls_getnameinfo(
        address: jlong, length: jint, host: jlong, host_room: jint, service: jlong, service_room: jint, flags: jint
    ) -> jint = Code(ntmfw::capi::ntmfw_getnameinfo(
        address.to_c(), length.to_c(), host.to_c(), host_room.to_c(), service.to_c(), service_room.to_c(), flags.to_c()
    ));
    Java_ntmfw_internal_JniCalls_socket(domain: jint, kind: jint, protocol: jint) -> jint =
        ntmfw::capi::ntmfw_socket(domain.to_c(), kind.to_c(), protocol.to_c());
    Java_ntmfw_internal_JniCalls_bind(fd: jint, address: jlong, length: jint) -> jint =
        ntmfw::capi::ntmfw_bind(fd.to_c(), address.to_c(), length.to_c());
    Java_ntmfw_internal_JniCalls_listen(fd: jint, backlog: jint) -> jint =
        ntmfw::capi::ntmfw_listen(fd.to_c(), backlog.to_c());
    Java_ntmfw_internal_JniCalls_accept4(fd: jint, address: jlong, length: jlong, flags: jint) -> jint =
        ntmfw::capi::ntmfw_accept4(fd.to_c(), address.to_c(), length.to_c(), flags.to_c());
    Java_ntmfw_internal_JniCalls_connect(fd: jint, address: jlong, length: jint) -> jint =
        ntmfw::capi::ntmfw_connect(fd.to_c(), address.to_c(), length.to_c());
    Java_ntmfw_internal_JniCalls_shutdown(fd: jint, how: jint) -> jint =
        ntmfw::capi::ntmfw_shutdown(fd.to_c(), how.to_c());
    Java_ntmfw_internal_JniCalls_close(fd: jint) -> jint = ntmfw::capi::ntmfw_close(fd.to_c());
    Java_ntmfw_internal_JniCalls_dup2(fd: jint, copy: jint) -> jint = libc::dup2(fd.to_c(), copy.to_c());
    Java_ntmfw_internal_JniCalls_fcntl(fd: jint, command: jint, argument: jint) -> jint =
        ntmfw::capi::ntmfw_fcntl(fd.to_c(), command.to_c(), argument.to_c());
    Java_ntmfw_internal_JniCalls_ioctl(fd: jint, request: jlong, argument: jlong) -> jint =
        ntmfw::capi::ntmfw_ioctl(fd.to_c(), request.to_c(), argument.to_c());
    Java_ntmfw_internal_JniCalls_getsockname(fd: jint, address: jlong, length: jlong) -> jint =
        ntmfw::capi::ntmfw_getsockname(fd.to_c(), address.to_c(), length.to_c());
    Java_ntmfw_internal_JniCalls_getpeername(fd: jint, address: jlong, length: jlong) -> jint =
        ntmfw::capi::ntmfw_getpeername(fd.to_c(), address.to_c(), length.to_c());
    Java_ntmfw_internal_JniCalls_getsockopt(fd: jint, level: jint, name: jint, value: jlong, length: jlong) -> jint =
        ntmfw::capi::ntmfw_getsockopt(fd.to_c(), level.to_c(), name.to_c(), value.to_c(), length.to_c());
    Java_ntmfw_internal_JniCalls_setsockopt(fd: jint, level: jint, name: jint, value: jlong, length: jint) -> jint =
        ntmfw::capi::ntmfw_setsockopt(fd.to_c(), level.to_c(), name.to_c(), value.to_c(), length.to_c());
    Java_ntmfw_internal_JniCalls_send(fd: jint, data: jlong, length: jlong, flags: jint) -> jlong =
        ntmfw::capi::ntmfw_send(fd.to_c(), data.to_c(), length.to_c(), flags.to_c());
    Java_ntmfw_internal_JniCalls_sendto(
        fd: jint, data: jlong, length: jlong, flags: jint, address: jlong, address_length: jint
    ) -> jlong = ntmfw::capi::ntmfw_sendto(
        fd.to_c(), data.to_c(), length.to_c(), flags.to_c(), address.to_c(), address_length.to_c()
    );
    Java_ntmfw_internal_JniCalls_recv(fd: jint, room: jlong, length: jlong, flags: jint) -> jlong =
        ntmfw::capi::ntmfw_recv(fd.to_c(), room.to_c(), length.to_c(), flags.to_c());
    Java_ntmfw_internal_JniCalls_recvfrom(
        fd: jint, room: jlong, length: jlong, flags: jint, address: jlong, address_length: jlong
    ) -> jlong = ntmfw::capi::ntmfw_recvfrom(
        fd.to_c(), room.to_c(), length.to_c(), flags.to_c(), address.to_c(), address_length.to_c()
    );
    Java_ntmfw_internal_JniCalls_epollCreate(flags: jint) -> jint = ntmfw::capi::ntmfw_epoll_create1(flags.to_c());
    Java_ntmfw_internal_JniCalls_epollCtl(set: jint, operation: jint, fd: jint, event: jlong) -> jint =
        ntmfw::capi::ntmfw_epoll_ctl(set.to_c(), operation.to_c(), fd.to_c(), event.to_c());
    Java_ntmfw_internal_JniCalls_epollWait(set: jint, events: jlong, room: jint, timeout: jint) -> jint =
        ntmfw::capi::ntmfw_epoll_wait(set.to_c(), events.to_c(), room.to_c(), timeout.to_c());
}
