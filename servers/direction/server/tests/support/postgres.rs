//! A real PostgreSQL for a test: made in a temporary folder, on a loopback address of its own, ended by its id. It
//! refuses to run as root, so where the test does, it runs as nobody.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Folder, own_address, wait_for, write_secret};

/// The user and group `nobody`, as Debian numbers them.
const NOBODY: u32 = 65_534;

pub struct Postgres {
    folder: Folder,
    ip: Ipv4Addr,
    child: Child,
}

impl Postgres {
    pub fn start() -> Self {
        Self::launch(|_, _| Vec::new())
    }

    /// One that nobody is let into without TLS. Its certificate is its own authority, in [`Self::certificate`].
    pub fn start_with_tls() -> Self {
        Self::launch(|data, ip| {
            let made = rcgen::generate_simple_self_signed([ip.to_string()]).expect("a certificate");
            fs::write(data.join("server.crt"), made.cert.pem()).expect("writes");
            write_secret(&data.join("server.key"), made.signing_key.serialize_pem().as_bytes());
            fs::write(data.join("pg_hba.conf"), "hostssl all all all trust\n").expect("writes");
            vec!["-c", "ssl=on"]
        })
    }

    /// `prepare` changes the database's folder before it starts, and gives further options.
    fn launch(prepare: impl FnOnce(&Path, Ipv4Addr) -> Vec<&'static str>) -> Self {
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
        let options = prepare(&data, ip);
        if is_root {
            for entry in fs::read_dir(&data).expect("a folder").map_while(Result::ok) {
                std::os::unix::fs::chown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
            }
        }
        let log = fs::File::create(folder.join("log")).expect("a log");
        let child = as_nobody("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", &ip.to_string(), "-c", "fsync=off", "-c", "unix_socket_directories="])
            .args(options)
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

    pub fn certificate(&self) -> PathBuf {
        self.folder.join("data/server.crt")
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
