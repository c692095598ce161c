//! The API over a stage.

use crate::stage::Stage;
use domain::{SessionId, WorkspaceId};
use hosted::{AdminKey, Hosted, HostedError, Resources};
use serde_json::{Value, json};
use wire::sessions::Session;

/// The API of one workspace.
pub struct Service {
    pub hosted: Hosted,
    resources: Resources,
    pub workspace: WorkspaceId,
    environment: String,
}

impl Service {
    pub async fn new(stage: &Stage) -> Self {
        let (admin, _) = AdminKey::find(stage.directory.path(), Some("hk_the-key-of-these-tests")).unwrap();
        let resources = Resources::open(stage.store.clone(), admin).await.unwrap();
        let workspace: WorkspaceId = "default".parse().unwrap();
        let environment = serde_json::from_value(json!({"name": "e"})).unwrap();
        let environments = resources.environments();
        let environment = environments.create(&workspace, environment).await.unwrap();
        Self {
            hosted: Hosted::new(stage.control.clone(), resources.clone()),
            resources,
            workspace,
            environment: environment.id.to_string(),
        }
    }

    pub async fn session(&self, more: Value) -> SessionId {
        self.session_with(&toolset("always_allow"), more).await
    }

    pub async fn session_with(&self, tools: &Value, more: Value) -> SessionId {
        let agent = self.agent(tools).await;
        self.session_of(&agent, more).await
    }

    pub async fn agent(&self, tools: &Value) -> String {
        let agent = json!({"name": "a", "model": "claude-haiku-4-5", "tools": tools});
        let agent = serde_json::from_value(agent).unwrap();
        let agents = self.resources.agents();
        agents
            .create(&self.workspace, agent)
            .await
            .unwrap()
            .id
            .to_string()
    }

    pub async fn session_of(&self, agent: &str, more: Value) -> SessionId {
        let mut create = json!({"agent": agent, "environment_id": self.environment});
        create
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let create = serde_json::from_value(create).unwrap();
        self.hosted.create(&self.workspace, create).await.unwrap().id
    }

    pub async fn send(&self, id: &SessionId, text: &str) -> Result<(), HostedError> {
        let message = json!({"type": "user.message", "content": [{"type": "text", "text": text}]});
        self.send_all(id, json!([message])).await
    }

    pub async fn send_all(&self, id: &SessionId, events: Value) -> Result<(), HostedError> {
        let sent = serde_json::from_value(json!({"events": events})).unwrap();
        self.hosted.send(&self.workspace, id, sent).await.map(drop)
    }

    pub async fn archive(&self, id: &SessionId) -> Result<Session, HostedError> {
        self.hosted.archive(&self.workspace, id).await
    }

    pub async fn delete(&self, id: &SessionId) -> Result<(), HostedError> {
        self.hosted.delete(&self.workspace, id).await.map(drop)
    }
}

/// A toolset whose commands are permitted so.
pub fn toolset(policy: &str) -> Value {
    json!([{"type": "agent_toolset_20260401",
        "configs": [{"name": "bash", "permission_policy": {"type": policy}}]}])
}
