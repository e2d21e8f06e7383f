//! Members as processes: started, watched, stopped; none is left behind.

use crate::network::MemberPlan;
use anyhow::{Context as _, Result, bail};
use std::{fs::OpenOptions, path::Path, process::Stdio, time::Duration};
use tokio::process::{Child, ChildStdin, Command};

/// The file in a member's directory that its process holds locked, with its process id in it.
pub const LOCK: &str = "lock";

/// A member's process. It ends when this is dropped: its standard input closes, and then it is killed.
#[derive(Debug)]
pub struct MemberProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    plan: MemberPlan,
}

impl MemberProcess {
    /// Starts a member; its log goes to `member.log` in its own directory.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn start(executable: &Path, plan: &MemberPlan) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(plan.dir.join("member.log"))?;
        let mut command = Command::new(executable);
        command.arg("run").arg(&plan.dir).arg("--until-stdin-closes");
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true).process_group(0);
        let mut child = command.spawn().with_context(|| format!("{} does not start", executable.display()))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, plan: plan.clone() })
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready within a minute: with the end of its log.
    pub async fn ready(&mut self, client: &reqwest::Client) -> Result<()> {
        let url = format!("{}/readyz", self.plan.web_base());
        let mut pause = Duration::from_millis(20);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while tokio::time::Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.plan.name, self.log_end());
            }
            if client.get(&url).send().await.is_ok_and(|r| r.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
        bail!("{} is not ready after a minute:\n{}", self.plan.name, self.log_end())
    }

    /// Stops it cleanly; kills it when it does not end within fifteen seconds.
    ///
    /// # Errors
    /// When it had ended before, ended with a failure, or had to be killed.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "{} had ended before ({status}): see {}",
                self.plan.title,
                self.plan.dir.join("member.log").display()
            );
        }
        self.stdin = None;
        match tokio::time::timeout(Duration::from_secs(15), self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => bail!("{} ended with a failure ({status:?})", self.plan.title),
            Err(_) => {
                self.child.kill().await?;
                bail!("{} did not stop within 15 seconds and was killed", self.plan.name)
            }
        }
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Stops whoever else runs this member's directory now: somebody may have brought it back after its death.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop_successor(directory: &Path) -> Result<()> {
        use rustix::process::{Pid, Signal, kill_process};
        let path = directory.join(LOCK);
        let Ok(lock) = std::fs::File::open(&path) else { return Ok(()) };
        let mut pause = Duration::from_millis(10);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        let mut told = None;
        while lock.try_lock().is_err() {
            let pid = std::fs::read_to_string(&path)?.trim().parse().ok().and_then(Pid::from_raw);
            let late = tokio::time::Instant::now() > deadline;
            if let Some(pid) = pid
                && (late || told != Some(pid))
            {
                // It may have ended by itself between the two calls.
                let _ended = kill_process(pid, if late { Signal::KILL } else { Signal::TERM });
                told = Some(pid);
            }
            if late {
                bail!("{} did not stop within 15 seconds and was killed", directory.display());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.plan.dir.join("member.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}
