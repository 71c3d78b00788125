//! Files of records in small blocks.

/// A folder with a file `events` of these records, in blocks of a few so that shards take turns.
pub(crate) fn written<T>(records: &[T]) -> tempfile::TempDir
where
    T: tidemill::Record,
{
    let folder = tempfile::tempdir().unwrap();
    let mut writer = tidemill::RecordWriter::create(folder.path().join("events")).unwrap();
    for (index, record) in records.iter().enumerate() {
        writer.write(record).unwrap();
        if index % 7 == 6 {
            writer.close_block().unwrap();
        }
    }
    writer.finish().unwrap();
    folder
}
