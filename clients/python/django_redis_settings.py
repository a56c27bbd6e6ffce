"""Settings for django-redis's own tests, on a server of the cell."""

import os

SERVER = f"redis://{os.environ['QUORATE_SERVER']}?db=1"
OPTIONS = {"CLIENT_CLASS": "django_redis.client.DefaultClient"}


def cache(location, **more):
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": OPTIONS, **more}


SECRET_KEY = "not a secret"
CACHES = {
    "default": cache([SERVER, SERVER]),
    "doesnotexist": cache("redis://127.0.0.1:56379?db=1"),
    "sample": cache(f"{SERVER},{SERVER}"),
    "with_prefix": cache(SERVER, KEY_PREFIX="test-prefix"),
}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
USE_TZ = False
