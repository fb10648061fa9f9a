//! Native memory as objects of Java's, and events told to a listener of Java's.

use std::ffi::{CStr, c_char, c_void};

use jni::errors::ThrowRuntimeExAndDefault;
use jni::objects::{Global, JByteArray, JByteBuffer, JObject, JString, JValue};
use jni::sys::{jint, jlong};
use jni::{EnvUnowned, JavaVM, jni_sig, jni_str};

/// Where the bytes of a direct buffer are.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn Java_ntmfw_internal_JniCalls_address(
    mut env: EnvUnowned<'_>,
    _: JObject<'_>,
    buffer: JByteBuffer<'_>,
) -> jlong {
    env.with_env(|env| env.get_direct_buffer_address(&buffer).map(|address| address as jlong))
        .resolve::<ThrowRuntimeExAndDefault>()
}

/// Bytes of native memory.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn Java_ntmfw_internal_JniCalls_read<'caller>(
    mut env: EnvUnowned<'caller>,
    _: JObject<'caller>,
    address: jlong,
    length: jint,
) -> JByteArray<'caller> {
    // SAFETY: Java reads what a call of the library has just given it, with the length that it was given.
    let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, length as usize) };
    env.with_env(|env| env.byte_array_from_slice(bytes)).resolve::<ThrowRuntimeExAndDefault>()
}

/// A C string.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn Java_ntmfw_internal_JniCalls_text<'caller>(
    mut env: EnvUnowned<'caller>,
    _: JObject<'caller>,
    address: jlong,
) -> JString<'caller> {
    // SAFETY: Java reads what a call of the library has just given it.
    let text = unsafe { CStr::from_ptr(address as *const c_char) };
    env.with_env(|env| JString::from_str(env, text.to_string_lossy())).resolve::<ThrowRuntimeExAndDefault>()
}

/// Has each event told to a `java.util.function.Consumer`. The library has one listener a process, which stays.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn Java_ntmfw_internal_JniCalls_onEvent<'caller>(
    mut env: EnvUnowned<'caller>,
    _: JObject<'caller>,
    listener: JObject<'caller>,
) -> jint {
    env.with_env(|env| {
        let listener = Box::into_raw(Box::new(env.new_global_ref(listener)?));
        // SAFETY: the function takes the pointer for what it is, and it is good for as long as it is called.
        let result = unsafe { ntmfw::capi::ntmfw_on_event(Some(tell), listener.cast()) };
        if result == 0 {
            return Ok::<_, jni::errors::Error>(0);
        }
        let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        // SAFETY: made above, and the library did not take it.
        drop(unsafe { Box::from_raw(listener) });
        Ok(-error)
    })
    .resolve::<ThrowRuntimeExAndDefault>()
}

/// Calls the listener on a thread of the library's, which is Java's only meanwhile: else the JVM could not end before it.
unsafe extern "C" fn tell(event: *const c_char, context: *mut c_void) {
    // SAFETY: the library gives a C string and what it was given.
    let (event, listener) = unsafe { (CStr::from_ptr(event), &*context.cast::<Global<JObject<'static>>>()) };
    let Ok(vm) = JavaVM::singleton() else { return };
    // What a listener throws ends there: nobody waits for it.
    let _ = vm.attach_current_thread_for_scope(|env| {
        let text = JString::from_str(env, event.to_string_lossy())?;
        let arguments = [JValue::Object(&text)];
        env.call_method(listener, jni_str!("accept"), jni_sig!("(Ljava/lang/Object;)V"), &arguments).map(drop)
    });
}
