//! `getaddrinfo` and its kin.

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::{IpAddr, SocketAddr};
use std::ptr::null_mut;

use libc::{addrinfo, sockaddr, sockaddr_storage, socklen_t};
use ntm_proto::id::Fqdn;
use ntm_proto::wire::message::Target;

use super::address;
use super::guard::{core, guard_code, set_errno};
use crate::elsewhere::{self, Found};
use crate::errno::Errno;
use crate::negotiation::names::{LookupError, Resolved};
use crate::negotiation::start::is_virtual;
use crate::runtime::Core;

/// The flags of `getaddrinfo` that there are, those of the C library's own for international names among them.
const KNOWN_FLAGS: c_int = libc::AI_PASSIVE
    | libc::AI_CANONNAME
    | libc::AI_NUMERICHOST
    | libc::AI_V4MAPPED
    | libc::AI_ALL
    | libc::AI_ADDRCONFIG
    | libc::AI_NUMERICSERV
    | 0x03c0;
/// Those of `getnameinfo`.
const KNOWN_NAME_FLAGS: c_int = 0x00ff;

/// One result, with what it points to.
#[repr(C)]
struct Entry {
    info: addrinfo,
    address: sockaddr_storage,
}

/// `getaddrinfo(3)`: the name of a node is asked of its coordinator, and the tunnel to it is on its way when the
/// call is back. Other names are the system's; one that is an alias (CNAME) of a node's name is a node's.
///
/// Blocks for at most ten seconds, not interrupted by signals; any number of threads may ask at once. `EAI_NONAME`
/// where there is no such node, `EAI_AGAIN` where nobody could be asked in time, `EAI_FAIL` where an answer is not
/// authentic, `EAI_FAMILY`, `EAI_SOCKTYPE`, `EAI_SERVICE`, `EAI_BADFLAGS` as ever, `EAI_SYSTEM` with `errno`. The list
/// is the caller's, to be freed by `ntmfw_freeaddrinfo`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    results: *mut *mut addrinfo,
) -> c_int {
    guard_code(libc::EAI_FAIL, || {
        // SAFETY: the caller's promise is that of `getaddrinfo`.
        match unsafe { look_up(node, service, hints, results) } {
            Ok(()) => 0,
            Err(code) => code,
        }
    })
}

/// `freeaddrinfo(3)`, for what `ntmfw_getaddrinfo` gave.
///
/// Null is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_freeaddrinfo(results: *mut addrinfo) {
    let mut next = results;
    while !next.is_null() {
        // SAFETY: every entry of the list is the beginning of an `Entry` that `push` leaked, and is met once.
        unsafe {
            let entry = Box::from_raw(next.cast::<Entry>());
            next = entry.info.ai_next;
            if !entry.info.ai_canonname.is_null() {
                drop(CString::from_raw(entry.info.ai_canonname));
            }
        }
    }
}

/// `gai_strerror(3)`.
///
/// The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_gai_strerror(code: c_int) -> *const c_char {
    // SAFETY: takes a number and gives a C string of the library's own.
    unsafe { libc::gai_strerror(code) }
}

/// `getnameinfo(3)`: virtual addresses have the names that were looked up, or that their nodes have. Where no name is
/// known they have figures, or with `NI_NAMEREQD` none (`EAI_NONAME`): the system's DNS is not asked who they are.
///
/// Does not block for virtual addresses. The errors are the system's: `EAI_NONAME`, `EAI_FAMILY`, `EAI_OVERFLOW`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_getnameinfo(
    given: *const sockaddr,
    given_length: socklen_t,
    host: *mut c_char,
    host_length: socklen_t,
    service: *mut c_char,
    service_length: socklen_t,
    flags: c_int,
) -> c_int {
    guard_code(libc::EAI_FAIL, || {
        if flags & !KNOWN_NAME_FLAGS != 0 {
            return libc::EAI_BADFLAGS;
        }
        let numeric = flags & libc::NI_NUMERICHOST != 0 || host.is_null() || host_length == 0;
        // SAFETY: the caller's promise.
        let address = if numeric { None } else { unsafe { address_of(given, given_length) } };
        let Some(name) = address.and_then(name_of_address) else {
            let virtually = address.is_some_and(is_virtual);
            if virtually && flags & libc::NI_NAMEREQD != 0 {
                return libc::EAI_NONAME;
            }
            let flags = if virtually { flags | libc::NI_NUMERICHOST } else { flags };
            // SAFETY: the caller's promise is that of `getnameinfo`.
            return unsafe {
                libc::getnameinfo(given, given_length, host, host_length, service, service_length, flags)
            };
        };
        if name.as_str().len() >= host_length as usize {
            return libc::EAI_OVERFLOW;
        }
        // SAFETY: the caller has so much room.
        unsafe {
            std::ptr::copy_nonoverlapping(name.as_str().as_ptr(), host.cast(), name.as_str().len());
            host.add(name.as_str().len()).write(0);
        }
        if service.is_null() || service_length == 0 {
            return 0;
        }
        // SAFETY: the caller's promise is that of `getnameinfo`; the host's name is not asked for again.
        unsafe { libc::getnameinfo(given, given_length, null_mut(), 0, service, service_length, flags) }
    })
}

/// # Safety
/// As [`address::read`].
unsafe fn address_of(given: *const sockaddr, length: socklen_t) -> Option<IpAddr> {
    // SAFETY: the caller's promise.
    let Ok(address::Given::Address(address)) = (unsafe { address::read(given, length, libc::AF_UNSPEC) }) else {
        return None;
    };
    Some(crate::socket::state::unmapped(address).ip())
}

/// The name that was looked up, or that the node has.
pub(crate) fn name_of_address(address: IpAddr) -> Option<Fqdn> {
    if let Some(names) = elsewhere::names() {
        return names.name_of(address).and_then(|name| Fqdn::parse(&name).ok());
    }
    let core = crate::negotiation::start::core()?;
    if core.is_own(address) {
        return Some(core.names.own().clone());
    }
    let looked_up = core.names.by_address(address).map(|resolved| resolved.name);
    // Who called this node was not looked up.
    looked_up.or_else(|| {
        core.engine(|node| {
            let peer = node.peer_at(address)?;
            node.peers().find(|one| one.node == peer).map(|one| one.name.clone())
        })
    })
}

/// # Safety
/// As `getaddrinfo`.
unsafe fn look_up(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    results: *mut *mut addrinfo,
) -> Result<(), c_int> {
    // SAFETY: null or valid, by the caller's promise.
    let wanted = unsafe { hints.as_ref() };
    let numeric = wanted.is_some_and(|hints| hints.ai_flags & libc::AI_NUMERICHOST != 0);
    // SAFETY: the caller's promise.
    if !numeric && let Some(found) = unsafe { find_node(node) } {
        let resolved = found?;
        // SAFETY: the caller's promise.
        return unsafe { give(&resolved, service, wanted, results) };
    }
    // SAFETY: the caller's promise is that of `getaddrinfo`.
    unsafe { from_system(node, service, hints, results) }
}

/// The node of this name, or of the name that this one is an alias of; `None` where it is no node's.
///
/// # Safety
/// `name` is null or a C string.
pub(crate) unsafe fn find_node(name: *const c_char) -> Option<Result<Resolved, c_int>> {
    if name.is_null() {
        return None;
    }
    // SAFETY: a C string, by the caller's promise.
    let text = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    let parsed = Fqdn::parse(text).ok()?;
    if parsed.as_str().parse::<IpAddr>().is_ok() {
        return None;
    }
    if let Some(names) = elsewhere::names() {
        return Some(names.resolve(parsed.as_str()).and_then(|found| resolved(&found)));
    }
    let core = core().ok()?;
    if core.names.is_ours(&parsed) {
        return Some(ask(core, &parsed));
    }
    // SAFETY: a C string, by the caller's promise.
    let alias = unsafe { canonical(name) }.filter(|alias| core.names.is_ours(alias))?;
    Some(ask(core, &alias))
}

/// Asks for a node of this name, or tells as `getaddrinfo` does why there is none.
pub(crate) fn ask(core: &Core, name: &Fqdn) -> Result<Resolved, c_int> {
    if name == core.names.own() {
        let (virtual4, virtual6) = core.virtual_addresses().ok_or(libc::EAI_AGAIN)?;
        return Ok(Resolved { name: name.clone(), virtual4, virtual6 });
    }
    loop {
        return match core.look_up(Target::Name(name.clone())) {
            Ok(resolved) => Ok(resolved),
            Err(LookupError::NoName) => Err(libc::EAI_NONAME),
            Err(LookupError::Again) => Err(libc::EAI_AGAIN),
            Err(LookupError::Fail) => Err(libc::EAI_FAIL),
            // Like the system's, the call goes on after a signal.
            Err(LookupError::Interrupted) => continue,
        };
    }
}

fn resolved(found: &Found) -> Result<Resolved, c_int> {
    let name = Fqdn::parse(&found.name).map_err(|_| libc::EAI_FAIL)?;
    Ok(Resolved { name, virtual4: found.virtual4, virtual6: found.virtual6 })
}

/// What the system says the name is an alias of.
///
/// # Safety
/// `node` is a C string.
unsafe fn canonical(node: *const c_char) -> Option<Fqdn> {
    // SAFETY: all zeros are hints that ask for everything.
    let mut hints: addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_CANONNAME;
    let mut found = null_mut();
    // SAFETY: a C string, hints, and room for a pointer; what is given is freed below.
    unsafe {
        if libc::getaddrinfo(node, std::ptr::null(), &raw const hints, &raw mut found) != 0 {
            return None;
        }
        let name = (*found).ai_canonname;
        let name =
            (!name.is_null()).then(|| CStr::from_ptr(name).to_str().ok().and_then(|name| Fqdn::parse(name).ok()));
        libc::freeaddrinfo(found);
        name.flatten()
    }
}

/// Makes the list for a node: IPv4 first, as RFC 6724 puts it before unique local addresses.
///
/// # Safety
/// As `getaddrinfo`.
unsafe fn give(
    resolved: &Resolved,
    service: *const c_char,
    wanted: Option<&addrinfo>,
    results: *mut *mut addrinfo,
) -> Result<(), c_int> {
    let (family, kind, protocol, flags) = wanted.map_or((libc::AF_UNSPEC, 0, 0, 0), |hints| {
        (hints.ai_family, hints.ai_socktype, hints.ai_protocol, hints.ai_flags)
    });
    if flags & !KNOWN_FLAGS != 0 {
        return Err(libc::EAI_BADFLAGS);
    }
    // SAFETY: the caller's promise.
    let port = unsafe { port_of(service, kind, flags) }?;
    let v4 = IpAddr::V4(resolved.virtual4);
    let v6 = IpAddr::V6(resolved.virtual6);
    let mapped = IpAddr::V6(resolved.virtual4.to_ipv6_mapped());
    let addresses: &[IpAddr] = match family {
        libc::AF_UNSPEC => &[v4, v6],
        libc::AF_INET => &[v4],
        libc::AF_INET6 if flags & libc::AI_V4MAPPED != 0 && flags & libc::AI_ALL != 0 => &[v6, mapped],
        libc::AF_INET6 => &[v6],
        _ => return Err(libc::EAI_FAMILY),
    };
    let kinds = [
        (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        (libc::SOCK_RAW, libc::IPPROTO_IP),
    ];
    let kinds: Vec<_> =
        kinds.into_iter().filter(|(k, p)| (kind == 0 || kind == *k) && (protocol == 0 || protocol == *p)).collect();
    if kinds.is_empty() {
        return Err(libc::EAI_SOCKTYPE);
    }
    let mut list = List::default();
    for &address in addresses {
        for &(kind, protocol) in &kinds {
            list.push(SocketAddr::new(address, port), kind, protocol, flags);
        }
    }
    if flags & libc::AI_CANONNAME != 0 {
        list.name(resolved.name.as_str());
    }
    // SAFETY: the caller has room for a pointer.
    unsafe { results.write(list.first) };
    Ok(())
}

/// The port that a service has, as the system knows it.
///
/// # Safety
/// `service` is null or a C string.
unsafe fn port_of(service: *const c_char, kind: c_int, flags: c_int) -> Result<u16, c_int> {
    if service.is_null() {
        return Ok(0);
    }
    // SAFETY: all zeros are hints.
    let mut hints: addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = libc::AF_INET;
    hints.ai_socktype = kind;
    hints.ai_flags = flags & libc::AI_NUMERICSERV;
    let mut found = null_mut();
    // SAFETY: C strings, hints, and room for a pointer; what is given is an IPv4 address and is freed.
    unsafe {
        match libc::getaddrinfo(std::ptr::null(), service, &raw const hints, &raw mut found) {
            0 => {
                let port = u16::from_be((*(*found).ai_addr.cast::<libc::sockaddr_in>()).sin_port);
                libc::freeaddrinfo(found);
                Ok(port)
            }
            code => Err(code),
        }
    }
}

/// What the system says, as a list that `ntmfw_freeaddrinfo` can free.
///
/// # Safety
/// As `getaddrinfo`.
unsafe fn from_system(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    results: *mut *mut addrinfo,
) -> Result<(), c_int> {
    let mut found = null_mut();
    // SAFETY: the caller's promise is that of `getaddrinfo`.
    let code = unsafe { libc::getaddrinfo(node, service, hints, &raw mut found) };
    if code != 0 {
        if code == libc::EAI_SYSTEM {
            set_errno(Errno::last());
        }
        return Err(code);
    }
    let mut list = List::default();
    let mut next = found;
    // SAFETY: the list is the system's, and each entry is met once; its addresses fit the storage.
    unsafe {
        while let Some(info) = next.as_ref() {
            if let Ok(address::Given::Address(address)) = address::read(info.ai_addr, info.ai_addrlen, libc::AF_UNSPEC)
            {
                list.push(address, info.ai_socktype, info.ai_protocol, info.ai_flags);
                if !info.ai_canonname.is_null() {
                    list.name(&CStr::from_ptr(info.ai_canonname).to_string_lossy());
                }
            }
            next = info.ai_next;
        }
        libc::freeaddrinfo(found);
        results.write(list.first);
    }
    Ok(())
}

/// A list in the making.
struct List {
    first: *mut addrinfo,
    last: *mut addrinfo,
}

impl Default for List {
    fn default() -> Self {
        Self { first: null_mut(), last: null_mut() }
    }
}

impl List {
    fn push(&mut self, address: SocketAddr, kind: c_int, protocol: c_int, flags: c_int) {
        let (storage, length) = address::to_storage(address);
        let info = addrinfo {
            ai_flags: flags,
            ai_family: if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 },
            ai_socktype: kind,
            ai_protocol: protocol,
            ai_addrlen: length,
            ai_addr: null_mut(),
            ai_canonname: null_mut(),
            ai_next: null_mut(),
        };
        let entry = Box::into_raw(Box::new(Entry { info, address: storage }));
        // SAFETY: the entry was just made and is ours; so is the one before it.
        unsafe {
            (*entry).info.ai_addr = (&raw mut (*entry).address).cast();
            if let Some(last) = self.last.as_mut() {
                last.ai_next = entry.cast();
            }
        }
        self.last = entry.cast();
        if self.first.is_null() {
            self.first = entry.cast();
        }
    }

    /// The first entry has the name that the node is really called.
    fn name(&mut self, name: &str) {
        // SAFETY: the list is ours.
        if let (Some(first), Ok(name)) = (unsafe { self.first.as_mut() }, CString::new(name))
            && first.ai_canonname.is_null()
        {
            first.ai_canonname = name.into_raw();
        }
    }
}

/// `if_nametoindex(3)`, which is the system's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_if_nametoindex(name: *const c_char) -> libc::c_uint {
    // SAFETY: the caller's promise is that of `if_nametoindex`.
    unsafe { libc::if_nametoindex(name) }
}
