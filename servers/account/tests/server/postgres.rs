//! A real PostgreSQL in a temporary folder, reached over a Unix socket, ended by its process id.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::harness::{Folder, wait_for};

/// An unprivileged user, because PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

#[derive(Debug)]
pub(crate) struct Postgres {
    child: Child,
    folder: Folder,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        if runs_as_root(&folder) {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        let mut initdb = command(&folder, "initdb");
        initdb.args(["--auth=trust", "--username=ntm", "--encoding=UTF8", "--locale=C", "-D", "data"]);
        assert!(initdb.status().expect("initdb runs").success());
        let child = serve(&folder);
        let postgres = Self { child, folder };
        postgres.wait();
        postgres
    }

    /// Ends and starts again; `meanwhile` is what happens in between.
    pub(crate) fn restart(&mut self, meanwhile: impl FnOnce()) {
        self.stop();
        meanwhile();
        self.child = serve(&self.folder);
        self.wait();
    }

    fn wait(&self) {
        wait_for("PostgreSQL to take connections", || ntm_account::store::open(&self.url()).ok());
    }

    fn stop(&mut self) {
        // SIGINT is its fast way to end; it takes its own children along.
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }

    pub(crate) fn url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://ntm@{folder}/postgres")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn runs_as_root(folder: &Folder) -> bool {
    let uid = std::fs::metadata(folder.path()).expect("there").uid();
    uid == 0 || uid == NOBODY
}

fn serve(folder: &Folder) -> Child {
    let mut server = command(folder, "postgres");
    server.args(["-D", "data", "-c", "listen_addresses=", "-k"]).arg(folder.path());
    server.spawn().expect("postgres starts")
}

fn command(folder: &Folder, name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if runs_as_root(folder) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Where Debian and others keep the program.
fn program(name: &str) -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: packaging/install-tools test installs it"))
}
