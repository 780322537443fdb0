//! The life of one instance, with what must hold after each of its operations.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::Value;

use crate::{
    check,
    database::Login,
    plans::{Plan, Wanted},
    platform::Ended,
    world::World,
};

/// An instance as its user knows it.
pub(crate) struct Life<'a> {
    world: &'a World,
    id: String,
    plan: Plan,
    wanted: Wanted,
    exists: bool,
    /// Credentials by binding.
    live: BTreeMap<String, Value>,
    dead: Vec<Value>,
    generated: Option<String>,
    bindings: usize,
}

impl<'a> Life<'a> {
    /// One that is not there yet.
    pub(crate) fn new(world: &'a World, id: impl Into<String>, plan: Plan) -> Self {
        Self {
            world,
            id: id.into(),
            plan,
            wanted: Wanted {
                size: "S",
                note: "new".to_owned(),
                extra: true,
            },
            exists: false,
            live: BTreeMap::new(),
            dead: Vec::new(),
            generated: None,
            bindings: 0,
        }
    }

    /// Creates it.
    pub(crate) async fn create(&mut self) -> anyhow::Result<()> {
        let platform = &self.world.platform;
        let ended = platform.create(&self.id, self.plan, &self.wanted).await;
        done("create", ended)?;
        self.exists = true;
        self.check().await.context("after the create")
    }

    /// Changes it.
    pub(crate) async fn update(&mut self) -> anyhow::Result<()> {
        self.wanted.size = match self.wanted.size {
            "S" => "M",
            "M" => "L",
            _ => "S",
        };
        self.wanted.note = format!("after {}", self.wanted.note.len());
        self.wanted.extra = !self.wanted.extra;
        let platform = &self.world.platform;
        let ended = platform.update(&self.id, self.plan, &self.wanted).await;
        done("update", ended)?;
        let shown = platform.parameters(&self.id).await?;
        ensure!(
            shown == self.wanted.parameters(),
            "after the update GET shows {shown}"
        );
        self.check().await.context("after the update")
    }

    /// Makes a binding.
    pub(crate) async fn bind(&mut self) -> anyhow::Result<()> {
        self.bind_after(None).await.context("bind")
    }

    /// Makes a successor of the oldest binding, and removes that one.
    pub(crate) async fn rotate(&mut self) -> anyhow::Result<()> {
        let old = self.live.keys().next().cloned();
        self.bind_after(old).await.context("rotate")
    }

    /// Removes the oldest binding.
    pub(crate) async fn unbind(&mut self) -> anyhow::Result<()> {
        let (binding, credentials) = self.live.pop_first().context("no binding to remove")?;
        let platform = &self.world.platform;
        let ended = platform.unbind(&self.id, &binding, self.plan).await;
        done("unbind", ended)?;
        self.dead.push(credentials);
        self.check().await.context("after the unbind")
    }

    /// Removes all bindings, then the instance.
    pub(crate) async fn delete(&mut self) -> anyhow::Result<()> {
        while !self.live.is_empty() {
            self.unbind().await?;
        }
        let ended = self.world.platform.delete(&self.id, self.plan).await;
        done("delete", ended)?;
        self.exists = false;
        self.check().await.context("after the delete")
    }

    /// All of it, in an order that chance decides.
    pub(crate) async fn whole(&mut self, random: &mut StdRng) -> anyhow::Result<()> {
        self.create().await?;
        for _ in 0..random.random_range(2..5) {
            match random.random_range(0..4) {
                0 => self.update().await?,
                1 if !self.live.is_empty() => self.rotate().await?,
                2 if self.live.len() > 1 => self.unbind().await?,
                _ => self.bind().await?,
            }
        }
        self.delete().await
    }

    async fn bind_after(&mut self, predecessor: Option<String>) -> anyhow::Result<()> {
        self.bindings += 1;
        let binding = format!("b{}", self.bindings);
        let platform = &self.world.platform;
        let bound = platform
            .bind(&self.id, &binding, self.plan, predecessor.as_deref())
            .await?;
        let credentials = bound
            .map_err(anyhow::Error::msg)
            .context("the operation failed")?;
        self.live.insert(binding, credentials);
        self.check().await
    }

    async fn check(&mut self) -> anyhow::Result<()> {
        if self.exists {
            let generated = check::objects(self.world, &self.id, &self.wanted).await?;
            let first = self.generated.get_or_insert_with(|| generated.clone());
            ensure!(*first == generated, "the generated value has changed");
        } else {
            check::is_gone(self.world, &self.id).await?;
        }
        let users = self.world.database.users().await?;
        for (binding, credentials) in &self.live {
            let user = credentials["username"].as_str().unwrap_or_default();
            ensure!(
                users.contains(user),
                "binding {binding} is there and its user {user} is not"
            );
            ensure!(
                self.world.database.login(credentials).await? == Login::Works,
                "the login of binding {binding} does not work"
            );
        }
        for credentials in &self.dead {
            ensure!(
                self.world.database.login(credentials).await? == Login::Refused,
                "the login {} works, and its unbind succeeded",
                credentials["username"]
            );
        }
        Ok(())
    }
}

fn done(what: &str, ended: anyhow::Result<Ended>) -> anyhow::Result<()> {
    match ended? {
        Ended::Done(_) => Ok(()),
        Ended::Failed(description) => {
            anyhow::bail!("{what}: the operation failed: {description}")
        }
    }
}
