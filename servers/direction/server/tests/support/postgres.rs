//! A real PostgreSQL for a test: made in a temporary folder, on a loopback address of its own, ended by its id. It
//! refuses to run as root, so where the test does, it runs as nobody.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Folder, own_address, wait_for};

/// The user and group `nobody`, as Debian numbers them.
const NOBODY: u32 = 65_534;

pub struct Postgres {
    folder: Folder,
    ip: Ipv4Addr,
    child: Child,
}

impl Postgres {
    pub fn start() -> Self {
        let (folder, ip, programs) = (Folder::new(), own_address(), programs());
        let data = folder.join("data");
        fs::create_dir(&data).expect("a folder");
        let is_root = fs::metadata("/proc/self").expect("Linux").uid() == 0;
        if is_root {
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let as_nobody = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.env("LC_ALL", "C").current_dir(&data).stdin(Stdio::null()).stdout(Stdio::null());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let made = as_nobody("initdb")
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = fs::File::create(folder.join("log")).expect("a log");
        let child = as_nobody("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", &ip.to_string(), "-c", "fsync=off", "-c", "unix_socket_directories="])
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let postgres = Self { folder, ip, child };
        let address = (postgres.ip, 5432);
        wait_for("PostgreSQL", || {
            TcpStream::connect(address).is_ok() && {
                let log = fs::read_to_string(postgres.folder.join("log")).unwrap_or_default();
                log.contains("ready to accept connections")
            }
        });
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@{}:5432/postgres", self.ip)
    }

    /// One value, as text.
    pub fn ask(&self, query: &str) -> String {
        let output = Command::new(programs().join("psql"))
            .args(["-X", "-A", "-t", "-c", query, &self.url()])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, its children too.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Where Debian has the newest server's programs.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut versions: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    versions.retain(|programs| programs.join("initdb").exists());
    versions.sort();
    versions.pop().expect("PostgreSQL is missing: packaging/install-tools test installs it")
}
