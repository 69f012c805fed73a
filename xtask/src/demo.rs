//! `cargo xtask demo`: from a fresh clone to a running cluster with the examples in it, one command. Does what a user would type, and shows it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{guests, step, workspace};

/// How long anything may take that the demo waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the cluster may take to end.
const ENDING: Duration = Duration::from_secs(30);
/// The example guests, which are images of the same name.
const IMAGES: [&str; 7] = [
    "hello-http",
    "guestbook-web",
    "guestbook-api",
    "guestbook-store",
    "two-in-a-pod-front",
    "two-in-a-pod-keeper",
    "crunch",
];
/// The examples' folders.
const EXAMPLES: [&str; 4] = ["hello-http", "guestbook", "two-in-a-pod", "crunch"];
/// What is asked, and what the answer has to contain.
const REQUESTS: [(&str, &str, &str, &str); 6] = [
    ("GET", "127.0.0.1:30080", "", "hello"),
    ("GET", "127.0.0.1:30081", "", "Guestbook"),
    (
        "POST",
        "127.0.0.1:30081",
        "text=signed+by+the+demo",
        "HTTP/1.1",
    ),
    ("GET", "127.0.0.1:30081", "", "signed by the demo"),
    ("POST", "127.0.0.1:30082", "remember the milk", "kept"),
    ("GET", "127.0.0.1:30082", "", "remember the milk"),
];

/// Runs the demo; with `check` it ends after the requests.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    guests::build()?;
    step::quietly(
        "build coracle (ten minutes the first time)",
        &mut workspace::build(),
    )?;
    let data = workspace::target().join("demo");
    let mut cluster = Cluster::start(&data)?;
    let shown = cluster.show();
    if let Err(error) = shown {
        cluster.end()?;
        return Err(error);
    }
    if !check {
        cluster.explain();
        wait_for_interrupt()?;
    }
    cluster.end()?;
    println!("✓ the cluster has ended in order");
    Ok(())
}

struct Cluster {
    child: Child,
    kubeconfig: PathBuf,
}

impl Cluster {
    fn start(data: &Path) -> anyhow::Result<Self> {
        if data.exists() {
            std::fs::remove_dir_all(data).with_context(|| format!("empty {}", data.display()))?;
        }
        let mut command = Command::new(coracle());
        command
            .arg("up")
            .arg("--data-dir")
            .arg(data)
            .args(["--node-name", "demo"]);
        println!("$ {}", shown(&command));
        let began = Instant::now();
        // A group of its own: Ctrl-C is for the demo, which asks the cluster to end, once.
        command.process_group(0);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("start coracle up")?;
        let output = child.stdout.take().context("read what coracle up says")?;
        let mut lines = BufReader::new(output).lines();
        let told = lines.any(|line| line.is_ok_and(|line| line.starts_with("export KUBECONFIG=")));
        ensure!(
            told,
            "coracle up ended before it was ready: what it said is above"
        );
        std::thread::spawn(move || lines.for_each(drop));
        println!("✓ the API answers after {} ms", began.elapsed().as_millis());
        Ok(Self {
            child,
            kubeconfig: data.join("admin.kubeconfig"),
        })
    }

    /// Pushes, applies, asks.
    fn show(&self) -> anyhow::Result<()> {
        for image in IMAGES {
            let module = workspace::guests().join(format!("{image}.wasm"));
            let mut push = self.command("push");
            push.arg(format!("{image}:1.0")).arg(module);
            step::run(&mut push)?;
        }
        for example in EXAMPLES {
            let file = workspace::root().join(format!("examples/{example}/{example}.yaml"));
            let mut apply = self.command("apply");
            apply.arg("-f").arg(file);
            step::run(&mut apply)?;
        }
        for (method, address, body, wanted) in REQUESTS {
            let answer = ask(method, address, body, wanted)?;
            let status = answer.lines().next().unwrap_or_default();
            println!("✓ {method} http://{address}/ {body:?} → {status}, with {wanted:?} in it");
        }
        self.wait_for_job()
    }

    /// Waits until the job has run to its end.
    fn wait_for_job(&self) -> anyhow::Result<()> {
        let path = "/apis/batch/v1/namespaces/default/jobs/crunch";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut get = self.command("get");
            let job = step::output(get.args(["--raw", path])).unwrap_or_default();
            let job: serde_json::Value = serde_json::from_str(&job).unwrap_or_default();
            if job.pointer("/status/succeeded") == Some(&serde_json::json!(1)) {
                println!("✓ the job crunch is complete");
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the job crunch is not complete within a minute: {}",
                job.pointer("/status").unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn explain(&self) {
        let kubeconfig = self.kubeconfig.display();
        let program = coracle();
        println!(
            "
The cluster is up. Open
  http://127.0.0.1:30080/   hello-http, two replicas
  http://127.0.0.1:30081/   guestbook: sign it
  http://127.0.0.1:30082/   two-in-a-pod: the notes

Look around from another terminal:
  export KUBECONFIG={kubeconfig}
  kubectl get pods -o wide
  kubectl logs deploy/guestbook-web
  kubectl describe deploy/hello-http
  kubectl scale deploy/hello-http --replicas=5
  kubectl get events
Without kubectl: {} get --raw /api/v1/namespaces/default/pods

Ctrl-C ends it.",
            program.display()
        );
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(coracle());
        command.arg(name).arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Asks the cluster to end, and waits until it has.
    fn end(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        if self.child.try_wait()?.is_none() {
            let asked = Command::new("kill").args(["-TERM", &pid]).status();
            asked.context("ask the cluster to end")?;
        }
        let deadline = Instant::now() + ENDING;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "coracle up: {status}");
                return Ok(());
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("the cluster did not end within {} s", ENDING.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// One HTTP request, tried until the answer contains what is wanted.
fn ask(method: &str, address: &str, body: &str, wanted: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request(method, address, body);
        if let Ok(answer) = &answer
            && answer.contains(wanted)
            && !answer.starts_with("HTTP/1.1 5")
        {
            return Ok(answer.clone());
        }
        if Instant::now() > deadline {
            let answer = answer.unwrap_or_else(|error| error.to_string());
            bail!(
                "{method} http://{address}/ does not answer {wanted:?} within a minute, but: {answer}"
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn request(method: &str, address: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(
        stream,
        "{method} / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn wait_for_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(tokio::signal::ctrl_c())
        .context("wait for Ctrl-C")
}

fn coracle() -> PathBuf {
    workspace::target().join("release/coracle")
}

fn shown(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
