//! Background tasks that end: half a catalog must not go on.

use crate::fixture::{client, control_plane, namespace, program};

#[tokio::test]
async fn a_background_task_that_panics_ends_the_process() {
    let namespace = namespace(&client().await).await;
    let templates = tempfile::tempdir().unwrap();
    for task in ["folders", "config-maps", "catalog"] {
        let mut program = program();
        program
            .env("KUBECONFIG", control_plane().await.kubeconfig())
            .env("BROKER_PANIC_AT", format!("task-{task}"))
            .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(["--drain-delay=0", "--namespace", &namespace])
            .arg("--templates")
            .arg(templates.path());
        let output = tokio::process::Command::from(program)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{task}: {log}");
        let named = format!("background task \\\"{task}\\\"");
        assert!(log.contains(&named), "{task}: {log}");
    }
}
