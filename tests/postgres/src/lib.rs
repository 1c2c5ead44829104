//! Finds a PostgreSQL server for the tests, or starts a private one.
//!
//! `SWITCHBOARD_TEST_POSTGRES` names a server by its URL. Without it, a private server is started from the installed
//! binaries, which ends with the test program however that ends. Where there is neither, the tests say so and do nothing,
//! unless `SWITCHBOARD_TEST_POSTGRES_REQUIRED` is set.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic to fail them")]

mod proxy;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

pub use proxy::Proxy;

/// Returns the URL of a server that all tests of this program share; `None`, with a line that says so, where there is none.
pub fn url() -> Option<&'static str> {
    static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match std::env::var("SWITCHBOARD_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => Some(Shared { url, _private: None }),
        _ => Server::start().map(|server| Shared { url: server.url(), _private: Some(server) }),
    });
    if shared.is_none() {
        skip();
    }
    shared.as_ref().map(|shared| shared.url.as_str())
}

struct Shared {
    url: String,
    /// It ends with this process, which closes its standard input.
    _private: Option<Server>,
}

#[expect(clippy::print_stderr, reason = "the output of a test")]
fn skip() {
    let reason = "no PostgreSQL: set SWITCHBOARD_TEST_POSTGRES to a URL, or install the server";
    assert!(std::env::var_os("SWITCHBOARD_TEST_POSTGRES_REQUIRED").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
}

/// A private server, which may be stopped and started.
pub struct Server {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    keeper: Child,
    /// Closed when this is dropped, and when the process ends: then the server ends.
    stdin: Option<ChildStdin>,
}

/// Makes a database cluster and a server on it, and ends the server when nobody holds the other end of its input.
const KEEP: &str = r#"
set -e
trap '' INT
"$1/initdb" -D "$2/data" -A trust -U postgres -E UTF8 --locale=C --no-sync >"$2/log" 2>&1
echo "listen_addresses = ''
unix_socket_directories = '$2'
fsync = $3" >>"$2/data/postgresql.conf"
"$1/pg_ctl" -D "$2/data" -l "$2/log" -w start >>"$2/log" 2>&1
echo ready
cat >/dev/null
"$1/pg_ctl" -D "$2/data" -m immediate stop >>"$2/log" 2>&1
rm -rf "$2"
"#;

impl Server {
    /// Starts a server from the installed binaries; `None` where there are none. It syncs nothing: it is for tests.
    ///
    /// # Panics
    ///
    /// When there are some and the server does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with("off")
    }

    /// As [`Server::start`], with a server that syncs as one in earnest does.
    ///
    /// # Panics
    ///
    /// When there are binaries and the server does not start.
    #[must_use]
    pub fn start_durable() -> Option<Self> {
        Self::start_with("on")
    }

    fn start_with(fsync: &str) -> Option<Self> {
        let binaries = binaries()?;
        let folder = tempfile::Builder::new().prefix("switchboard-postgres-").tempdir().unwrap();
        let mut command = as_a_user(folder.path(), Path::new("sh"));
        command.args(["-c", KEEP, "keep"]).arg(&binaries).arg(folder.path()).arg(fsync);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "the private PostgreSQL server does not start: {}", log());
        let stdin = keeper.stdin.take();
        Some(Self { folder, binaries, keeper, stdin })
    }

    /// Returns the URL of the server.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres:///postgres?host={socket}&user=postgres")
    }

    /// Stops the server as a power cut would, and starts it again.
    ///
    /// # Panics
    ///
    /// When that does not work.
    pub fn restart(&self) {
        self.control(&["-m", "immediate", "restart"]);
    }

    /// Stops the server, at once.
    ///
    /// # Panics
    ///
    /// When that does not work.
    pub fn stop(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts the server after [`Server::stop`].
    ///
    /// # Panics
    ///
    /// When that does not work.
    pub fn start_again(&self) {
        self.control(&["start"]);
    }

    fn control(&self, arguments: &[&str]) {
        let (data, log) = (self.folder.path().join("data"), self.folder.path().join("log"));
        let mut command = as_a_user(self.folder.path(), &self.binaries.join("pg_ctl"));
        command.arg("-w").arg("-D").arg(data).arg("-l").arg(log).args(arguments);
        assert!(command.stdout(Stdio::null()).status().unwrap().success(), "{command:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Returns the folder with the newest server's programs.
fn binaries() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    folders.sort();
    let newest = folders.pop().map(|(_, folder)| folder);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file()))
}

/// Returns a command that runs a program as a user who may run a server, which root may not, and gives that user the
/// folder.
fn as_a_user(folder: &Path, program: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let exists = |user: &&str| Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
    let user = ["postgres", "nobody"].into_iter().find(exists).unwrap_or("nobody");
    let given = Command::new("chown").arg(user).arg(folder).status().unwrap();
    assert!(given.success(), "root cannot give a folder to {user}");
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--"]).arg(program);
    command
}
