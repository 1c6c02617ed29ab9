<?php
// The chat of ../chat, in PHP: one room for everybody, in the same JSON, so that ../client.html is its page. It keeps
// nothing: a client's name is in its session, which the gateway holds. Nothing here knows which gateway that is.

use GatewayWorker\Lib\Gateway;

class Events
{
    public static function onConnect($client_id)
    {
        self::answer('system', ['message' => '连接成功', 'client_id' => $client_id]);
    }

    public static function onMessage($client_id, $message)
    {
        $request = json_decode($message, true);
        match ($request['type'] ?? null) {
            'ping' => self::answer('pong'),
            // The answer to the gateway's ping.
            'pong' => null,
            'login' => self::login($client_id, $request['username'] ?? "User_$client_id"),
            'chat' => self::chat($client_id, $request['content'] ?? '', $request['id'] ?? null),
            default => self::error('unknown_type', '未知消息类型'),
        };
    }

    public static function onClose($client_id)
    {
        $name = $_SESSION['username'] ?? null;
        $text = '用户 ' . ($name ?? $client_id) . ' 已离开';
        Gateway::sendToAll(self::json('system', ['message' => $text, 'client_id' => $client_id, 'username' => $name]));
    }

    private static function login($client_id, $name)
    {
        // One line of at most 64 characters.
        if (!is_string($name) || !preg_match('/^\P{C}{1,64}$/uD', $name)) {
            return self::error('bad_name', '用户名格式错误');
        }
        $_SESSION['username'] = $name;
        $user = ['client_id' => $client_id, 'username' => $name];
        Gateway::sendToAll(self::json('system', ['message' => "用户 $name 已加入"] + $user));
        self::answer('login', ['status' => 'success', 'message' => "欢迎 $name"] + $user);
    }

    private static function chat($client_id, $content, $id)
    {
        if (!is_string($content) || !preg_match('/^.{1,4096}$/usD', $content)) {
            return self::error('long_content', '消息内容过长');
        }
        Gateway::sendToAll(self::json('chat', [
            'client_id' => $client_id, 'username' => $_SESSION['username'] ?? null, 'content' => $content, 'id' => $id,
            'datetime' => date('Y-m-d H:i:s'),
        ]));
    }

    private static function error($code, $message)
    {
        self::answer('error', ['code' => $code, 'message' => $message]);
    }

    private static function answer($type, $fields = [])
    {
        Gateway::sendToCurrentClient(self::json($type, $fields));
    }

    /** A message as clients read it, without the fields that are null. */
    private static function json($type, $fields)
    {
        $fields = array_filter($fields, static fn ($value) => $value !== null);
        return json_encode(['type' => $type, 'timestamp' => time()] + $fields);
    }
}
