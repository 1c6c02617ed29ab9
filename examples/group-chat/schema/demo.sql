-- Two classes to try the chat with. Said twice, it changes nothing.
INSERT INTO classes (id, name) VALUES (1, '高一 1 班'), (2, '高一 2 班') ON CONFLICT DO NOTHING;

INSERT INTO threads (id, belong_class, name) VALUES
    (1, 1, '数学'), (2, 1, '语文'), (3, 2, '数学'), (4, 2, '春游')
ON CONFLICT DO NOTHING;

INSERT INTO users (id, name) VALUES
    (1, '王老师'), (2, '李雷'), (3, '韩梅梅'), (4, '小明'), (5, '小红')
ON CONFLICT DO NOTHING;

INSERT INTO members (class_id, user_id) VALUES
    (1, 1), (1, 2), (1, 3), (2, 1), (2, 4), (2, 5)
ON CONFLICT DO NOTHING;

INSERT INTO messages (belong_class, belong_thread, speaker, content)
SELECT t.belong_class, t.id, 1, '同学们好，这里是“' || t.name || '”讨论区。' FROM threads t
WHERE t.id <= 4 AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.belong_thread = t.id);
