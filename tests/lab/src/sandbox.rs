//! The lab runs in namespaces of its own: nothing it does is seen outside, and everything ends with its first process.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::kernel;
use crate::net::namespace::run;

/// Says to the inner process that it is one.
const MARK: &str = "NTM_LAB_INSIDE";

/// Comes back inside the sandbox only: begins this program again with the same arguments where it is not in one yet.
pub(crate) fn enter() -> io::Result<()> {
    if std::env::var_os(MARK).is_some() {
        kernel::process::end_when_told();
        run(Command::new("mount").args(["-t", "tmpfs", "lab", "/run"]))?;
        std::fs::create_dir("/run/netns")?;
        return Ok(());
    }
    let privileged = kernel::process::is_root();
    let mut base = vec!["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !privileged {
        base.extend(["--user", "--map-root-user"]);
    }
    let probe = Command::new("unshare").args(&base).arg("true").output()?;
    if !probe.status.success() {
        let told = String::from_utf8_lossy(&probe.stderr);
        return Err(io::Error::other(format!(
            "this host lets nobody make namespaces, so nothing was tested: {} (see user_namespaces(7))",
            told.trim()
        )));
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    Err(Command::new("unshare").args(&base).arg(std::env::current_exe()?).args(arguments).env(MARK, "1").exec())
}
