//! Commands run in a container that runs: what they share with it, and when they end.

use std::sync::Arc;

use coracle_runtime::{CommandSpec, Exit, LogSink, StartError, Stdin};

use crate::harness::{DEADLINE, Memory, Running, guest, runtime, start};

async fn spec(guest_name: &str, args: &[&str], out: &Arc<Memory>) -> CommandSpec {
    CommandSpec {
        artifact: guest(guest_name).await,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![("EXTRA".to_owned(), "yes".to_owned())],
        stdin: None,
        is_terminal: false,
        stdout: Arc::clone(out) as Arc<dyn LogSink>,
        stderr: Arc::clone(out) as Arc<dyn LogSink>,
    }
}

/// Runs a command to its end; says what it said.
async fn run(running: &Running, spec: CommandSpec, out: &Arc<Memory>) -> (Exit, String) {
    let command = running.container.run(&runtime(), spec).unwrap();
    let exit = tokio::time::timeout(DEADLINE, command.wait())
        .await
        .unwrap();
    (exit, out.text())
}

#[tokio::test]
async fn the_shell_of_the_toolbox_does_what_a_shell_does() {
    let data = tempfile::tempdir().unwrap();
    let running = start("echoes", |spec| {
        spec.env.push(("GREETING".into(), "hello".into()));
        spec.mounts = vec![coracle_runtime::Mount {
            host_path: data.path().into(),
            guest_path: "/data".into(),
            read_only: false,
        }];
    })
    .await;
    for (script, expected, code) in [
        ("echo $GREETING $EXTRA", "hello yes\n", 0),
        ("exit 7", "", 7),
        ("false || echo saved; true && echo both", "saved\nboth\n", 0),
        (
            "echo 'a  b' \"c  $((1 + 2 * 3))\" d\\ e",
            "a  b c  7 d e\n",
            0,
        ),
        (
            "seq 3 | while read n; do echo got $n; done",
            "got 1\ngot 2\ngot 3\n",
            0,
        ),
        ("yes | head -n 2", "y\ny\n", 0),
        (
            "x=1; if [ $x -eq 1 ]; then echo one; else echo other; fi",
            "one\n",
            0,
        ),
        (
            "for w in a b; do case $w in a) echo A;; *) echo rest;; esac; done",
            "A\nrest\n",
            0,
        ),
        (
            "echo text >/data/f; echo more >>/data/f; cat </data/f | wc -l",
            "2\n",
            0,
        ),
        ("ls / && cd /data && pwd && ls *", "data\n/data\nf\n", 0),
        ("v=$(echo inner; exit 3); echo $v $?", "inner 3\n", 0),
        (
            "echo ${NONE:-default} ${GREETING#he} ${#GREETING}",
            "default llo 5\n",
            0,
        ),
        (
            "cat <<END\n$GREETING you\nEND\necho after",
            "hello you\nafter\n",
            0,
        ),
        ("( exit 4 ); echo $?; ! true; echo $?", "4\n1\n", 0),
        ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n", 0),
        ("echo one two | tr a-z A-Z | grep -c ONE", "1\n", 0),
        (
            "cd /data && tar cf - f | (mkdir out && cd out && tar xf - && cat f)",
            "text\nmore\n",
            0,
        ),
        ("sleep 0.01; nonsense 2>/dev/null; echo $?", "127\n", 0),
        ("echo 'unfinished", "", 2),
    ] {
        let out = Arc::new(Memory::default());
        let spec = spec("toolbox", &["sh", "-c", script], &out).await;
        let (exit, said) = run(&running, spec, &out).await;
        assert_eq!(exit, Exit::Completed(code), "{script}: {said}");
        if code == 0 {
            assert_eq!(said, expected, "{script}");
        }
    }
}

#[tokio::test]
async fn input_is_read_to_its_end() {
    let running = start("echoes", |_| {}).await;
    let out = Arc::new(Memory::default());
    let stdin = Stdin::new(false);
    let mut wc = spec("toolbox", &["wc", "-c"], &out).await;
    wc.stdin = Some(Arc::clone(&stdin));
    let command = running.container.run(&runtime(), wc).unwrap();
    for _ in 0..100 {
        stdin.write(vec![b'x'; 10_000].into()).await;
    }
    stdin.end();
    assert_eq!(command.wait().await, Exit::Completed(0));
    assert_eq!(out.text(), "1000000\n");
}

#[tokio::test]
async fn commands_are_charged_to_their_container_and_end_with_it() {
    let running = start("echoes", |spec| spec.memory_limit = Some(16 << 20)).await;
    let out = Arc::new(Memory::default());
    let greedy = spec("grows-memory", &["grows-memory"], &out).await;
    let (exit, _) = run(&running, greedy, &out).await;
    assert_eq!(exit, Exit::OutOfMemory);
    // The container goes on.
    assert_eq!(running.container.exit(), None);
    let spins = spec("spins", &["spins"], &out).await;
    let command = running.container.run(&runtime(), spins).unwrap();
    running.container.kill();
    let exit = tokio::time::timeout(DEADLINE, command.wait())
        .await
        .unwrap();
    assert_eq!(exit, Exit::Stopped);
    running.exit().await;
    let late = spec("exits-with", &["exits-with"], &out).await;
    assert!(matches!(
        running.container.run(&runtime(), late),
        Err(StartError::Spec(_))
    ));
}
