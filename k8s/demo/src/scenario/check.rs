//! What each step does, and what must have come of it.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::{OPERATION_LIMIT, PLAN, SECOND, SERVICE, Scenario, parameters};
use crate::{
    app::Outcome,
    deploy::NAMESPACE,
    leftovers,
    osb::{Answer, Client, Offer},
};

impl Scenario {
    pub(super) async fn catalog(&mut self) -> anyhow::Result<()> {
        let answer = self.osb.catalog().await?.expect(&[200])?;
        let offer = Offer::find(&answer.body, SERVICE, PLAN);
        self.offer = Some(offer.with_context(|| format!("the catalog has no {SERVICE}/{PLAN}"))?);
        Ok(())
    }

    pub(super) async fn provision(&mut self) -> anyhow::Result<()> {
        let offer = self.offer()?;
        let answer = self
            .osb
            .provision(&self.instance, offer, &parameters())
            .await?
            .expect(&[202])?;
        let operation = answer
            .operation()
            .context("the answer names no operation")?
            .to_owned();
        // The same request again is the same operation.
        let again = self
            .osb
            .provision(&self.instance, offer, &parameters())
            .await?
            .expect(&[202])?;
        ensure!(
            again.operation() == Some(&operation),
            "a replay was answered with another operation"
        );
        self.provisioning = Some(operation);
        Ok(())
    }

    pub(super) async fn await_provision(&mut self) -> anyhow::Result<()> {
        succeed(&self.osb, &self.instance, self.provisioning.as_deref()).await?;
        let offer = self.offer()?;
        self.osb
            .provision(&self.instance, offer, &parameters())
            .await?
            .expect(&[200])?;
        self.osb.instance(&self.instance).await?.expect(&[200])?;
        Ok(())
    }

    pub(super) async fn bind(&self, app: &str) -> anyhow::Result<()> {
        let binding = self.binding(app);
        let answer = self
            .osb
            .bind(&self.instance, &binding, self.offer()?, &json!({}))
            .await?
            .expect(&[201])?;
        let uri = answer.body["credentials"]["uri"]
            .as_str()
            .context("the binding has no uri")?;
        self.apps.give(app, uri).await?;
        // A platform may ask twice: the same login.
        let again = self
            .osb
            .bind(&self.instance, &binding, self.offer()?, &json!({}))
            .await?
            .expect(&[200])?;
        ensure!(
            again.body["credentials"] == answer.body["credentials"],
            "a replay gave another login"
        );
        Ok(())
    }

    pub(super) async fn app_works(&self, app: &str) -> anyhow::Result<()> {
        let run = self.apps.run(app, app).await?;
        self.transcript.note(&format!("{app}: {}", run.log));
        ensure!(
            run.outcome == Outcome::Worked,
            "{app} could not use its database: {}",
            run.log
        );
        Ok(())
    }

    pub(super) async fn app_is_refused(&self, app: &str) -> anyhow::Result<()> {
        let run = self.apps.run(app, app).await?;
        self.transcript.note(&format!("{app}: {}", run.log));
        ensure!(
            run.outcome == Outcome::LoginRefused,
            "the database did not refuse the login of {app}: {}",
            run.log
        );
        Ok(())
    }

    pub(super) async fn update(&self) -> anyhow::Result<()> {
        let change = json!({"slow_ms": 50});
        let answer = self
            .osb
            .update(&self.instance, self.offer()?, &change)
            .await?
            .expect(&[202])?;
        succeed(&self.osb, &self.instance, answer.operation()).await?;
        let shown = self.osb.instance(&self.instance).await?.expect(&[200])?;
        let mut expected = parameters();
        expected["slow_ms"] = change["slow_ms"].clone();
        ensure!(
            shown.body["parameters"] == expected,
            "the instance shows the parameters {}, expected {expected}",
            shown.body["parameters"]
        );
        Ok(())
    }

    pub(super) async fn unbind(&self, app: &str) -> anyhow::Result<()> {
        let binding = self.binding(app);
        let offer = self.offer()?;
        self.osb
            .unbind(&self.instance, &binding, offer)
            .await?
            .expect(&[200])?;
        self.osb
            .unbind(&self.instance, &binding, offer)
            .await?
            .expect(&[410])?;
        self.osb
            .binding(&self.instance, &binding)
            .await?
            .expect(&[404])?;
        Ok(())
    }

    /// By the network. Where nothing enforces NetworkPolicies, only mutual TLS is left, and that is
    /// said.
    pub(super) async fn tenant_is_refused(&self) -> anyhow::Result<()> {
        let at = |service: &str, port: u16| format!("{service}.{NAMESPACE}:{port}");
        let gateway = at("gateway", 80);
        let services = ["catalog-svc", "provisioner-svc", "binder-svc"];
        let closed = services.map(|service| at(service, 7000));
        let found = self
            .apps
            .reach(std::slice::from_ref(&gateway), &closed)
            .await?;
        for line in found.lines() {
            self.transcript.note(line);
        }
        let is = |address: &str, answer: &str| found.contains(&format!("{address} is {answer}"));
        ensure!(
            is(&gateway, "Open"),
            "the gateway is not open to the tenant"
        );
        let mut open = closed.iter().filter(|address| !is(address, "Closed"));
        if open.next().is_some() {
            self.transcript.note(
                "nothing enforces NetworkPolicies in this cluster: only mutual TLS refuses that pod",
            );
        }
        Ok(())
    }

    pub(super) async fn deprovision(&self) -> anyhow::Result<()> {
        let answer = self
            .osb
            .deprovision(&self.instance, self.offer()?)
            .await?
            .expect(&[202])?;
        succeed(&self.osb, &self.instance, answer.operation()).await
    }

    pub(super) async fn nothing_is_left(&self) -> anyhow::Result<()> {
        self.osb.instance(&self.instance).await?.expect(&[404])?;
        self.osb
            .binding(&self.instance, &self.binding(SECOND))
            .await?
            .expect(&[404])?;
        self.osb
            .deprovision(&self.instance, self.offer()?)
            .await?
            .expect(&[410])?;
        gone(&self.cluster, &self.instance).await?;
        let record = leftovers::record(&self.cluster, &self.instance).await?;
        ensure!(record.is_some(), "the record is gone, too");
        Ok(())
    }
}

/// Polls until the operation succeeded.
pub async fn succeed(osb: &Client, instance: &str, operation: Option<&str>) -> anyhow::Result<()> {
    let last = finish(osb, instance, operation).await?;
    ensure!(
        last.text("state") == Some("succeeded"),
        "the operation ended as {}: {}",
        last.body["state"],
        last.text("description").unwrap_or("no description")
    );
    Ok(())
}

/// Polls until the operation ended, and returns the last answer.
pub async fn finish(
    osb: &Client,
    instance: &str,
    operation: Option<&str>,
) -> anyhow::Result<Answer> {
    let deadline = Instant::now() + OPERATION_LIMIT;
    loop {
        let answer = osb
            .last_operation(instance, operation)
            .await?
            .expect(&[200])?;
        if answer.text("state") != Some("in progress") {
            return Ok(answer);
        }
        ensure!(
            Instant::now() < deadline,
            "still in progress after {} s: {}",
            OPERATION_LIMIT.as_secs(),
            answer.text("description").unwrap_or("no description")
        );
        // A person watches: not slower than every other second.
        sleep(Duration::from_secs(
            answer.retry_after.unwrap_or(1).clamp(1, 2),
        ))
        .await;
    }
}

/// Waits for what Kubernetes removes at its own pace: volumes outlive their claims for a moment.
pub async fn gone(cluster: &kube::Client, instance: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = leftovers::of_instance(cluster, instance).await?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "still there: {}",
            left.join(", ")
        );
        sleep(Duration::from_secs(1)).await;
    }
}
