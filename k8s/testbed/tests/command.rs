//! The command, as a person runs it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tb-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command
            .args(args)
            .env("XDG_STATE_HOME", &self.folder)
            .env_remove("KUBEBUILDER_ASSETS");
        command
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn printed(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

fn fake_program(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_control_plane_outlives_the_command_until_it_is_taken_down() {
    let bench = Bench::new("up");
    let up = ["up", "--name", "cp", "--control-plane-only"];
    let kubeconfig = printed(&bench.command(&up).output().unwrap());
    assert_eq!(printed(&bench.command(&up).output().unwrap()), kubeconfig);
    assert_eq!(
        printed(
            &bench
                .command(&["kubeconfig", "--name", "cp"])
                .output()
                .unwrap()
        ),
        kubeconfig
    );

    let status = printed(&bench.command(&["status", "--json"]).output().unwrap());
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status[0]["healthy"], true);
    assert_eq!(status[0]["processes"].as_object().unwrap().len(), 4);

    let kubectl = printed(&bench.command(&["which", "kubectl"]).output().unwrap());
    let seen = Command::new(kubectl)
        .args(["--kubeconfig", &kubeconfig, "get", "namespaces"])
        .output()
        .unwrap();
    assert!(printed(&seen).contains("kube-system"));

    for _ in 0..2 {
        printed(&bench.command(&["down", "--name", "cp"]).output().unwrap());
    }
    assert_eq!(
        printed(&bench.command(&["status"]).output().unwrap()),
        "nothing is running"
    );
    assert!(
        fs::read_dir(&bench.folder).unwrap().next().is_none(),
        "something is left"
    );
}

#[test]
fn a_process_of_a_cluster_that_died_is_noticed_and_mended_by_the_next_start() {
    let bench = Bench::new("mend");
    let up = ["up", "--name", "cp", "--control-plane-only"];
    printed(&bench.command(&up).output().unwrap());
    let read = || {
        let text = printed(&bench.command(&["status", "--json"]).output().unwrap());
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let status = read();
    let processes = status[0]["processes"].as_object().unwrap();
    let (scheduler, _) = processes
        .iter()
        .find(|(_, name)| *name == "kube-scheduler")
        .unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", scheduler])
            .status()
            .unwrap()
            .success()
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(read()[0]["healthy"], false);
    printed(&bench.command(&up).output().unwrap());
    assert_eq!(read()[0]["healthy"], true);
    printed(&bench.command(&["down", "--all"]).output().unwrap());
}

#[test]
fn a_build_that_is_killed_leaves_nothing_that_counts() {
    let bench = Bench::new("build");
    let cached = |command: &mut Command| {
        command
            .env("XDG_CACHE_HOME", &bench.folder)
            .output()
            .unwrap()
    };
    for milliseconds in [50, 400] {
        let mut command = bench.command(&["which", "pause"]);
        let mut child = command
            .env("XDG_CACHE_HOME", &bench.folder)
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let path = printed(&cached(&mut bench.command(&["which", "pause"])));
    assert!(path.starts_with(bench.folder.to_str().unwrap()));
    // It is whole: it runs until it is told to end.
    let mut pause = Command::new(&path).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(pause.try_wait().unwrap().is_none());
    pause.kill().unwrap();
    pause.wait().unwrap();
}

#[test]
fn the_users_own_programs_are_taken_where_they_say_so() {
    let bench = Bench::new("assets");
    let kubectl = fake_program(&bench.folder, "kubectl");
    let which = |program: &str| {
        let mut command = bench.command(&["which", program]);
        command
            .env("KUBEBUILDER_ASSETS", &bench.folder)
            .env("MONGOD", bench.folder.join("kubectl"));
        command.output().unwrap()
    };
    assert_eq!(printed(&which("kubectl")), kubectl.display().to_string());
    assert_eq!(printed(&which("mongod")), kubectl.display().to_string());
    // One that is missing is said, not silently replaced.
    let missing = which("etcd");
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("KUBEBUILDER_ASSETS"));
}

#[test]
fn a_name_that_is_none_is_refused() {
    let bench = Bench::new("name");
    let output = bench
        .command(&["down", "--name", "../etc"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("lower-case"));
}
