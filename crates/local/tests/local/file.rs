//! A ledger in a file.

use std::fs;
use std::path::PathBuf;

use aws_sdk_dynamodb::Client;
use keytide_local::{LocalAws, LocalError};

use crate::dynamodb::{new_item, table, text};

/// A folder of this test's own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        // It may be there from a run that was broken off.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new("again");
    let path = folder.0.join("keytide.db");
    {
        let aws = LocalAws::in_file(&path).unwrap();
        let client = Client::new(&aws.sdk_config());
        table(&client).await;
        client.transact_write_items().transact_items(new_item("a", "ann")).send().await.unwrap();
    }
    let aws = LocalAws::in_file(&path).unwrap();
    let found = Client::new(&aws.sdk_config())
        .get_item()
        .table_name("ledger")
        .key("id", text("a"))
        .send()
        .await
        .unwrap();
    assert_eq!(found.item().unwrap()["owner"], text("ann"));
}

#[test]
fn a_path_that_cannot_be_a_ledger_is_refused_with_its_name_and_left_alone() {
    let folder = Folder::new("refused");
    let refusal = |path: &PathBuf| LocalAws::in_file(path).expect_err("a refusal");

    let is_folder = refusal(&folder.0);
    assert!(matches!(is_folder, LocalError::IsFolder { .. }));

    let text_file = folder.0.join("notes.txt");
    fs::write(&text_file, "a few notes").unwrap();
    let no_ledger = refusal(&text_file);
    assert!(matches!(no_ledger, LocalError::NotALedger { .. }));
    assert_eq!(fs::read_to_string(&text_file).unwrap(), "a few notes");

    let nowhere = folder.0.join("nowhere").join("keytide.db");
    let no_folder = refusal(&nowhere);
    assert!(matches!(no_folder, LocalError::NoFolder { .. }));

    // It begins like a database and is none.
    let broken = folder.0.join("broken.db");
    fs::write(&broken, b"SQLite format 3\0and then nothing that fits").unwrap();
    let no_database = refusal(&broken);
    assert!(matches!(no_database, LocalError::Database { .. }));

    for (error, path) in
        [(is_folder, &folder.0), (no_ledger, &text_file), (no_folder, &nowhere), (no_database, &broken)]
    {
        let message = error.to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
}
