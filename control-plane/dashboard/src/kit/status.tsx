// How something stands, in words, with a shape and a colour: nobody has to see colours to know.
import { IconAlertTriangle, IconCircleCheck, IconCircleX, IconPointFilled } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslations } from "use-intl";
import type { Schemas } from "../api/client";
import styles from "./status.module.css";

export type Tone = "good" | "warn" | "bad" | "neutral";
const SHAPES = { good: IconCircleCheck, warn: IconAlertTriangle, bad: IconCircleX, neutral: IconPointFilled };

export function Status({ tone, children }: { tone: Tone; children: ReactNode }) {
  const Shape = SHAPES[tone];
  return (
    <span className={`${styles.status ?? ""} ${styles[tone] ?? ""}`}>
      <Shape size={15} aria-hidden />
      {children}
    </span>
  );
}

export function Presence({ presence }: { presence: Schemas["Presence"] }) {
  const t = useTranslations("presence");
  const tones = { online: "good", late: "warn", offline: "bad", never: "neutral" } as const;
  return <Status tone={tones[presence]}>{t(presence)}</Status>;
}

export function Protected({ reasons }: { reasons: readonly Schemas["Reason"][] }) {
  const t = useTranslations();
  const [first, ...others] = reasons;
  if (!first) return <Status tone="good">{t("fleet.protected")}</Status>;
  return (
    <Status tone="bad">
      {t(`reason.${first}`)}
      {others.length > 0 && ` +${String(others.length)}`}
    </Status>
  );
}
