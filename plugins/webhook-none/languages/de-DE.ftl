method = Keine Anmeldung
notes = Das Ereignis wird unverändert gesendet. Der Empfänger kann nicht erkennen, von wem es stammt. Wählen Sie dieses Verfahren deshalb nur in einem vertrauenswürdigen Netz oder für eine Adresse, die sonst niemand kennt.
