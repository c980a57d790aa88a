"""Django's settings, all derived from `backend.environment`."""

from datetime import timedelta

import dj_database_url
from corsheaders.defaults import default_headers
from csp import constants as csp

from backend.environment import BASE_DIR, read_environment

ENV = read_environment()

DEBUG = bool(ENV.debug)
SECRET_KEY = ENV.require_key()
SECRET_KEY_FALLBACKS = ENV.require_fallback_keys()
ALLOWED_HOSTS = ENV.require_hosts()
ENV.require_one_process()
CELERY_BROKER = ENV.require_broker()

INSTALLED_APPS = [
    "backend.console.apps.ConsoleConfig",  # the admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "corsheaders",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "backend.accounts",
    "backend.audit",
    "backend.throttling",
    "backend.outbox",
    "backend.jobs",
    "backend.chat",
    "backend.knowledge",
    "tasks",
]

MIDDLEWARE = [
    "backend.api.requests.Requests",
    "backend.api.addresses.ClientAddress",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "backend.api.middleware.NotStored",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "backend.api.middleware.TrailingSlash",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "backend.api.lengths.LengthRequired",
]

ROOT_URLCONF = "backend.urls"
WSGI_APPLICATION = "backend.wsgi.application"
APPEND_SLASH = False  # backend.api.middleware takes one off instead
AUTHENTICATION_BACKENDS = ["backend.accounts.authentication.NameOrEmail"]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "backend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ENV.data_dir.mkdir(parents=True, exist_ok=True)
DATABASES = {"default": dj_database_url.parse(ENV.database_url or f"sqlite:///{ENV.data_dir / 'footnote.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"] |= {
        "ENGINE": "backend.api.sqlite",
        # A connection is kept by its thread. WAL lets readers go on while one writes; IMMEDIATE takes the write lock at
        # the start, so that a busy database waits (timeout, seconds) instead of failing half-way.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-4000;",
        },
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # or a restart of the database costs each pooled connection a 503
    # Seconds. A pool that goes on trying to connect waits twice as long each time, and would be away for minutes after
    # the database has come back; one that gives up tries anew with the next request.
    waits = {"timeout": 10, "reconnect_timeout": 2}
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 20, **waits}
    DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = ["backend.accounts.hashers.Argon2"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "backend.accounts.api_keys.ApiKeyAuthentication",
        "backend.accounts.authentication.BearerToken",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["backend.api.renderers.QuickJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["backend.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "backend.api.pagination.Pages",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "backend.api.negotiation.JSONAnyway",
    "DEFAULT_SCHEMA_CLASS": "backend.api.schema.Described",
    "EXCEPTION_HANDLER": "backend.api.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {  # the keys, families and rotation are those of backend.accounts.tokens
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ALGORITHM": "HS256",
    "ISSUER": "footnote",
    "AUDIENCE": "footnote",
    "AUTH_TOKEN_CLASSES": ["backend.accounts.tokens.AccessToken"],
    "CHECK_REVOKE_TOKEN": True,  # a changed password ends every token issued before it, whoever changed it
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Footnote",
    "DESCRIPTION": "A chat backend that answers from your documents and shows its footnotes.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_PATCH": False,  # what a PATCH must hold is what its serializer asks for
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {
        "SourceStateEnum": "backend.knowledge.models.SourceState",
        "SyncStateEnum": "backend.knowledge.models.SyncState",
        "CitedSourceEnum": "backend.chat.models.CitedSource",
        "RoleEnum": "backend.chat.models.Role",
        "RunStateEnum": "backend.jobs.models.RunState",
    },
}

STATIC_URL = "/static/"
STATIC_ROOT = None  # no collectstatic step: the few files of admin and docs are found in their packages
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000  # bytes of a JSON body, and of a form beside its files; beyond it 413
DATA_UPLOAD_MAX_NUMBER_FILES = 100
UPLOADS = ENV.data_dir / "uploads"  # on the disk of the other data, not in a small /tmp
UPLOADS.mkdir(parents=True, exist_ok=True)
FILE_UPLOAD_TEMP_DIR = str(UPLOADS)

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only the admin's pages use cookies.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.production
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 12 * 3600
if ENV.production:
    SECURE_HSTS_SECONDS = 365 * 24 * 3600  # sent over TLS alone
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_SSL_REDIRECT = ENV.public_url.startswith("https://") and bool(ENV.trusted_proxies)
    SECURE_REDIRECT_EXEMPT = [r"^healthz/?$", r"^readyz/?$", r"^metrics/?$"]  # asked from inside, without TLS
    # To have browsers ship a name as one for TLS alone is hard to undo, and for the domain's owner to ask for.
    SILENCED_SYSTEM_CHECKS = ["security.W021"]
    if not SECURE_SSL_REDIRECT:
        # Who was asked over TLS, only a proxy that may say so can say; without one, it redirects by itself.
        SILENCED_SYSTEM_CHECKS += ["security.W008"]
CORS_ALLOWED_ORIGINS = ENV.cors_allowed_origins
CORS_ALLOW_HEADERS = [*default_headers, "idempotency-key"]
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Conversation-Id", "X-Message-Id", "Content-Disposition", "X-Request-ID"]
CORS_URLS_REGEX = r"^/(?!admin(/|$)).*$"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [csp.SELF],
        "style-src": [csp.SELF, csp.UNSAFE_INLINE],
        "img-src": [csp.SELF, "data:"],
        "object-src": [csp.NONE],
        "base-uri": [csp.NONE],
        "form-action": [csp.SELF],
        "frame-ancestors": [csp.NONE],
    },
}

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "backend.console.formats"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "lines": {"()": "backend.api.logs.OneLine", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {"()": "backend.api.logs.JSONLine"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": ENV.log_format}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "backend": {"level": ENV.log_level},
        "tasks": {"level": ENV.log_level},
        "django.request": {"level": "CRITICAL"},  # a 5xx that nobody expected is logged by backend.api.errors
    },
}

if ENV.sentry_dsn:
    from backend.api.reporting import start

    start(ENV.sentry_dsn)
