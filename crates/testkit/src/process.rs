//! Real programs under test: started with their output kept, asked for signals, killed when
//! dropped.
//!
//! `Process` knows no program. [`memcached`] and [`Keyway`] know just enough of theirs to start on
//! a free port and to wait until it answers.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::client::Client;
use crate::{PATIENCE, port, wait_until};

/// A folder of one test; removed when dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new, empty folder.
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("keyway-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Scratch { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it and returns its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, text).expect("the scratch folder is writable");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary folder; that is no reason to fail a test.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running program. Its output is kept; it is killed when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    scratch: Scratch,
}

impl Process {
    /// Starts `command`. Both output streams go to one file.
    #[track_caller]
    pub fn start(command: &mut Command) -> Process {
        Process::start_in(Scratch::new(), command)
    }

    /// Starts `command`, whose files are in `scratch`; the folder lives as long as the process.
    #[track_caller]
    pub fn start_in(scratch: Scratch, command: &mut Command) -> Process {
        let output = scratch.file("output");
        let file = File::create(&output).expect("the scratch folder is writable");
        let second = file.try_clone().expect("a descriptor can be duplicated");
        let name = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .spawn()
            .unwrap_or_else(|e| panic!("starting {name}: {e}"));
        Process { name, child, output, scratch }
    }

    /// Everything it has printed so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str) {
        let begin = Instant::now();
        while !self.output().contains(text) {
            let gone = self.child.try_wait().expect("we may ask for our child").is_some();
            let late = begin.elapsed() > PATIENCE;
            assert!(!(gone || late), "{} never printed {text:?} but\n{}", self.name, self.output());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits until something accepts connections at `addr`. Panics when the program ends first.
    #[track_caller]
    pub fn wait_for_listener(&mut self, addr: SocketAddr) {
        let begin = Instant::now();
        while TcpStream::connect(addr).is_err() {
            if let Some(status) = self.child.try_wait().expect("we may ask for our child") {
                panic!("{} ended with {status} before it listened:\n{}", self.name, self.output());
            }
            assert!(begin.elapsed() < PATIENCE, "{} never listens on {addr}", self.name);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Sends a signal by its name, such as `TERM`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill exists").success(), "signal {name} to {}", self.name);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("we may ask for our child").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().expect("we may ask for our child");
            status.is_some()
        });
        status.expect("the loop ends when there is a status")
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        // Killing what has ended already is an error that changes nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Resident memory in bytes: what the kernel has given it.
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The highest its resident memory has been, in bytes.
    pub fn rss_bytes_max(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(path).expect("a running process has a status");
        let line = text.lines().find(|l| l.starts_with(field)).expect("the status has the field");
        let kib = line.split_whitespace().nth(1).expect("the field has a number");
        kib.parse::<u64>().expect("the field is a number") << 10
    }

    /// How many descriptors it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("a running process has files")
            .count()
    }

    /// A folder that lives as long as the process.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- output of {}\n{}----", self.name, self.output());
        }
    }
}

/// Where a program is. Panics without it: end-to-end tests that compare with a peer must not pass.
#[track_caller]
pub fn find(program: &str) -> PathBuf {
    look_for(program).unwrap_or_else(|| {
        panic!("{program} is not installed; ./test installs it, or see CONTRIBUTING.md")
    })
}

/// Where a program is, if it is installed.
pub fn look_for(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"]);
    let mut files = places.map(|dir| Path::new(dir).join(program));
    files.find(|file| file.is_file())
}

/// The real memcached with `args`, listening on the address that is returned.
#[track_caller]
pub fn memcached(args: &[&str]) -> (Process, SocketAddr) {
    let addr = port::local();
    let mut command = Command::new(find("memcached"));
    command.args(["-l", "127.0.0.1", "-p", &addr.port().to_string(), "-U", "0", "-u", "root"]);
    let mut process = Process::start(command.args(args));
    process.wait_for_listener(addr);
    (process, addr)
}

/// Runs a program to its end and returns its output, both streams in one, and how it ended.
#[track_caller]
pub fn run(command: &mut Command) -> (String, ExitStatus) {
    let mut process = Process::start(command);
    let status = process.wait();
    (process.output(), status)
}

/// The program under test, running one configuration.
pub struct Keyway {
    /// The process.
    pub process: Process,
    /// Where its configuration file is; rewrite it to test a reload.
    pub config: PathBuf,
    /// The admin port.
    pub admin: SocketAddr,
}

impl Keyway {
    /// Starts `binary` with a native configuration and returns when it is ready.
    #[track_caller]
    pub fn start(binary: &str, config: &str) -> Keyway {
        let admin = port::local();
        let mut keyway = Keyway::launch(binary, config, admin);
        keyway.process.wait_for_listener(admin);
        wait_until("keyway is ready", || {
            let running = keyway.process.is_running();
            assert!(running, "keyway ended:\n{}", keyway.process.output());
            http_get(admin, "/readyz").0 == 200
        });
        keyway
    }

    /// Starts `binary` without waiting for anything.
    #[track_caller]
    pub fn launch(binary: &str, config: &str, admin: SocketAddr) -> Keyway {
        let scratch = Scratch::new();
        let config = scratch.write("keyway.toml", config);
        let mut command = Command::new(binary);
        command.arg("--config").arg(&config).arg("--admin").arg(admin.to_string());
        let process = Process::start_in(scratch, &mut command);
        Keyway { process, config, admin }
    }

    /// Replaces the configuration file and asks for a reload by signal. Does not wait.
    pub fn rewrite(&self, config: &str) {
        fs::write(&self.config, config).expect("the scratch folder is writable");
        self.process.signal("HUP");
    }
}

/// One HTTP request to the admin port: status and body. Status 0 when there is no answer.
pub fn http_get(addr: SocketAddr, path: &str) -> (u16, String) {
    http(addr, "GET", path)
}

/// One HTTP request to the admin port: status and body. Status 0 when there is no answer.
pub fn http(addr: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let Ok(mut client) = Client::try_tcp(addr) else { return (0, String::new()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    if client.try_send(head.as_bytes()).is_err() {
        return (0, String::new());
    }
    let all = client.drain();
    let text = String::from_utf8_lossy(&all).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
    (status, body)
}
