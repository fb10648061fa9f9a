//! Addresses as networks give them: a DHCP server and router advertisements at the site, a client on the host.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::attachment::{Device, Host};
use super::namespace::Namespace;
use super::site::Site;
use crate::run::process::Started;

/// What the client does with what it was given.
const SCRIPT: &str = r#"#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip -batch - <<EOF
address replace $ip/$mask dev $interface
route replace default via $router dev $interface
EOF
"#;

impl Site {
    /// Begins to give addresses away. The server ends when what is returned is dropped.
    pub(crate) fn serve_addresses(&self, directory: &Path) -> io::Result<Started> {
        let mut command = Command::new("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--interface=lan",
            "--bind-dynamic",
        ]);
        command.args(["--user=root", "--pid-file=", "--no-ping", "--dhcp-authoritative", "--dhcp-rapid-commit"]);
        command.arg(format!("--dhcp-leasefile={}", directory.join(format!("leases-{}", self.router.name())).display()));
        if let Some((gateway, _)) = self.lan4() {
            let [a, b, c, first] = gateway.octets();
            command.arg(format!("--dhcp-range={a}.{b}.{c}.{},{a}.{b}.{c}.{},1h", first + 7, first + 12));
        }
        if let Some(gateway) = self.lan6() {
            command.arg("--enable-ra").arg(format!("--dhcp-range={gateway},ra-only,64,1h"));
            command.arg("--ra-param=lan,4,600");
        }
        Started::new(&self.router, command, &directory.join(format!("dnsmasq-{}.log", self.router.name())))
    }
}

/// Asks for an IPv4 address and keeps it; ends when dropped.
pub(crate) fn client(host: &Host, device: &Device, directory: &Path) -> io::Result<Started> {
    let mut command = Command::new("busybox");
    command.args(["udhcpc", "-f", "-R", "-t", "20", "-T", "1", "-i", &device.name, "-s"]).arg(script(directory)?);
    let log = directory.join(format!("udhcpc-{}.log", host.namespace.name()));
    Started::new(&host.namespace, command, &log)
}

fn script(directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join("udhcpc-script");
    if !path.exists() {
        fs::write(&path, SCRIPT)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

/// A host asks routers for their networks when its device comes up; it is told to here as after an association.
pub(crate) fn solicit(namespace: &Namespace, device: &Device) -> io::Result<()> {
    namespace.setting(&format!("ipv6/conf/{}/disable_ipv6", device.name), "1")?;
    namespace.setting(&format!("ipv6/conf/{}/disable_ipv6", device.name), "0")
}
