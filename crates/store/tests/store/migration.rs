//! Databases of earlier versions.

use domain::{SessionId, WorkspaceId};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use store::{Instance, Store};

const FIRST: &str = include_str!("../../src/schema/0001_sessions.sql");

#[tokio::test]
async fn a_database_of_the_first_schema_keeps_its_sessions_and_gets_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::open(&directory.path().join("data")).unwrap();
    let session = SessionId::random();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(instance.directory().join("hostler.db"))
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let row = format!(
        "INSERT INTO sessions (id, status, model, limits, egress_rules, settings, instance_id, epoch, last_seq, \
         created_at, updated_at) VALUES ('{session}', 'idle', 'm', \
         '{{\"cpu_millis\":1000,\"memory_bytes\":1,\"disk_bytes\":1,\"pids\":1}}', '[]', '{{}}', 'inst', 1, 0, 0, 0)"
    );
    for statement in [FIRST, row.as_str(), "PRAGMA user_version = 1"] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();

    let store = Store::open(instance).await.unwrap();
    assert_eq!(store.session(&session).await.unwrap().model, "m");
    store.create_workspace(&WorkspaceId::default()).await.unwrap();
    assert_eq!(store.workspaces().await.unwrap().len(), 1);
}
