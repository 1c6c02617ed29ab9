<?php
// Runs the PHP that it reads, a line at a time, with the unmodified GatewayClient, and answers each
// with a line of JSON: what came of it, was thrown, printed and warned. REGISTER, SECRET_KEY.
error_reporting(E_ALL);
require __DIR__ . '/common.php';

class Gateway extends \GatewayClient\Gateway
{
    /** It is protected; nothing else is changed. */
    public static function select($fields = ['session', 'uid', 'groups'], $where = [])
    {
        return parent::select($fields, $where);
    }

    /** What select() answers by gateway and connection, by client. */
    public static function selected(array $data): array
    {
        $out = [];
        foreach ($data as $ip => $ports) foreach ($ports as $port => $items) foreach ((array) $items as $connection => $item)
            $out[\GatewayClient\Context::addressToClientId($ip, $port, $connection)] = $item;
        return $out;
    }

    public static function versions(): array
    {
        $composer = 'Composer\\InstalledVersions';
        $of = fn (string $name) => class_exists($composer) && $composer::isInstalled($name) ? $composer::getPrettyVersion($name) : null;
        return [
            'php' => PHP_VERSION,
            'workerman' => \Workerman\Worker::VERSION,
            'gateway-worker' => $of('workerman/gateway-worker'),
            'gatewayclient' => $of('workerman/gatewayclient'),
        ];
    }
}

/** JSON has no bytes: a string that is not UTF-8 is shown in hex. */
function shown(mixed $value): mixed
{
    if (is_string($value)) return preg_match('//u', $value) ? $value : 'hex:' . bin2hex($value);
    if (is_object($value)) return 'object ' . serialize($value);
    if (!is_array($value)) return $value;
    $out = [];
    foreach ($value as $key => $item) $out[is_string($key) ? shown($key) : $key] = shown($item);
    return $out;
}

function outcome(string $code): array
{
    $warnings = [];
    set_error_handler(function ($number, $text) use (&$warnings) { $warnings[] = $text; return true; });
    ob_start();
    try {
        $outcome = ['answer' => shown(eval("return $code;"))];
    } catch (Throwable $error) {
        $outcome = ['throws' => get_class($error) . ': ' . $error->getMessage()];
    }
    $printed = preg_replace('~ in /.*~', '', (string) strtok((string) ob_get_clean(), "\n"));
    restore_error_handler();
    if ($printed !== '') $outcome['prints'] = shown($printed);
    if ($warnings) $outcome['warns'] = shown($warnings);
    return $outcome;
}

Gateway::$registerAddress = explode(',', getenv('REGISTER'));
Gateway::$secretKey = (string) getenv('SECRET_KEY');
// Every question is to see the list as it is, not as it was a second ago.
Gateway::$addressesCacheDisable = true;
while (($line = fgets(STDIN)) !== false) {
    echo json_encode(outcome($line), JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION), "\n";
}
